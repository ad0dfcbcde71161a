"""A replay: letters are claimed, published, and marked as published; killed at any moment it neither loses nor doubles.

    claim      retry, with a token that names this life of the letter, under a lease
    publish    confirmed by the broker; each publication is one more *copy* under the same token
    mark       replayed

A kill before the publication leaves the letter in `retry`; once the lease is over, the next replay takes it. A kill
between publication and mark does the same, and then a second copy is published: under the same token, of which only
the first copy that a worker sees will run (`DeadLetterStore.started`).

The selection is frozen when it starts, so a letter that dies again meanwhile is not replayed again by the same
operation; and a letter with `MAX_REPLAYS` replays behind it is left alone unless it is forced.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias

from celery_recovery.dead_letters.letter import Letter, Outgoing
from celery_recovery.dead_letters.pace import Pace
from celery_recovery.dead_letters.regroup import bundles, together
from celery_recovery.dead_letters.scope import REPLAY
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.dead_letters.store import LEASE, Claim, DeadLetterStore
from celery_recovery.exceptions import PublishFailed, StoreUnavailable, Unroutable

__all__ = ("MAX_REPLAYS", "Progress", "Publishes", "Replay", "ReplayResult", "Terms", "Traces", "untraced")

logger = logging.getLogger("celery_recovery")

#: Replays after which a letter is left alone: it comes back every time.
MAX_REPLAYS = 10
#: Most letters claimed at once.
BATCH = 100
#: The same, where items of batches go together.
GROUPED = 500
#: Share of the lease after which letters not yet published are claimed anew.
RENEW_AT = 0.5
#: Seconds after which published letters are marked, even if the batch goes on.
MARK_EVERY = 0.5

#: Seconds between two looks at letters that another replay holds.
LOOK = 1.0

#: Why a letter was not replayed, by the status of its claim.
_SKIPPED = {
    "unknown": "no longer there",
    "leased": "held by another replay",
    "exhausted": "replayed too often",
}
NOT_REPLAYABLE = (
    "cannot be replayed: no Celery message, its arguments could not be serialised, or it came here without its secrets"
)


class Publishes(Protocol):
    """What a replay needs of a publisher."""

    def publish(  # noqa: PLR0913  # a message has that many parts
        self,
        body: bytes,
        *,
        headers: Mapping[str, Any],
        properties: Mapping[str, Any],
        content_type: str,
        content_encoding: str,
        queue: str | None,
        exchange: str,
        routing_key: str,
        producer: Any = None,
    ) -> None:
        """Publish and wait for the confirm, with this producer if one is given.

        Raises `PublishFailed`, with a cause when it is the broker's fault.
        """


#: From a message, and the letters that it is of, to the message to publish instead, and what is called when it is
#: published, or with the exception when it is not; when nobody knows it is not called. Neither raises.
Traces: TypeAlias = Callable[[Outgoing, Sequence[Letter]], tuple[Outgoing, Callable[..., None]]]


def untraced(message: Outgoing, letters: Sequence[Letter]) -> tuple[Outgoing, Callable[..., None]]:  # noqa: ARG001
    """Nobody is told of replays."""
    return message, _nothing


def _nothing(*_: object) -> None:
    pass


class Progress(NamedTuple):
    """How far a replay is."""

    total: int
    published: int
    skipped: int
    failed: int
    #: Seconds that it waits for another replay's lease to end; None: it does not.
    waiting: float | None = None
    #: Of those published: that have recovered, and that have died again, as far as the runner has looked.
    recovered: int = 0
    died: int = 0
    #: What else there is to say, in a few words.
    note: str = ""
    #: Id of the operation.
    operation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What a replay did."""

    #: Empty for a dry run.
    operation: str
    #: Letters that were to be replayed.
    selected: int
    published: int = 0
    #: Why -> how many.
    skipped: Mapping[str, int] = field(default_factory=dict)
    #: Id -> error of those that the broker did not take; they are failed, or in review, as before.
    failed: Mapping[str, str] = field(default_factory=dict)
    #: What the operator should know of the published ones -> how many.
    warnings: Mapping[str, int] = field(default_factory=dict)
    #: Why it ended before it was through; empty when it was.
    stopped: str = ""
    #: Seconds it took.
    seconds: float = 0.0
    dry_run: bool = False
    #: Of a canary: how the published ones have ended, and whether that stopped it.
    recovered: int = 0
    died: int = 0
    by_canary: bool = False
    #: Where the operation stands; empty for a dry run, and when there was nothing to replay.
    state: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in plain.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a replay is to go about it."""

    #: States that letters are claimed from.
    states: tuple[LetterState, ...] = REPLAY.by_id
    #: Letters per second; None: no limit.
    rate: float | None = None
    #: Another queue than the one they came from.
    to_queue: str | None = None
    #: Where letters go whose origin is not known.
    default_queue: str = "celery"
    #: Letters with that many replays behind them are left alone; None: none are.
    max_replays: int | None = MAX_REPLAYS
    #: Seconds that a claim keeps others away.
    lease: float = LEASE
    #: Items of one batch go together, as few messages (see `regroup.py`); `rate` is then in messages.
    regroup: bool = False

    @property
    def batch(self) -> int:
        """Letters claimed at once: no more than are published in a quarter of the lease."""
        if self.rate is None:
            return GROUPED if self.regroup else BATCH
        return max(1, min(BATCH, int(self.rate * self.lease / 4)))


class Replay:
    """One replay operation, as a context manager; `run` does a part of it.

    `idle` is called about once a second while the rate lets it wait; what it raises ends the run, and claims nothing.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        publisher: Publishes,
        operation: str,
        terms: Terms | None = None,
        *,
        warn: Callable[[Letter], str | None] = lambda _: None,
        progress: Callable[[Progress], None] = lambda _: None,
        idle: Callable[[], None] = _nothing,
        trace: Traces = untraced,
    ) -> None:
        self.store = store
        self.publisher = publisher
        self.operation = operation
        self.terms = terms or Terms()
        self._pace = Pace(self.terms.rate, idle=idle)
        self._warn = warn
        self._progress = progress
        self._trace = trace
        self._published = 0
        self._unmarked: list[str] = []
        self._declared: set[str | None] = set()
        self._open = ExitStack()
        self._producer: Any = None
        self._marked_at = 0.0
        self._skipped: Counter[str] = Counter()
        self._failed: dict[str, str] = {}
        self._warnings: Counter[str] = Counter()

    def __enter__(self) -> Replay:  # noqa: PYI034  # `Self` is not in Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self._producer = None
        self._open.close()

    def run(self, ids: Sequence[str]) -> ReplayResult:
        """Replay these letters, in order; the result is of all runs so far.

        A broker that is away ends it early. Raises `StoreUnavailable`.
        """
        begun = time.monotonic()
        total = len(ids)
        stopped = ""
        try:
            leased = self._pass(ids, total)
            until = time.monotonic() + max(leased.values(), default=0.0)
            while leased and self._waited(until, total):  # dead, its lease ends; alive, it gets on with them meanwhile
                leased = self._pass(list(leased), total)
            self._skipped[_SKIPPED["leased"]] += len(leased)
        except PublishFailed as exc:
            stopped = f"the broker did not take a letter: {exc}"
        return ReplayResult(
            operation=self.operation,
            selected=total,
            published=self._published,
            skipped=+self._skipped,
            failed=self._failed,
            warnings=+self._warnings,
            stopped=stopped,
            seconds=time.monotonic() - begun,
        )

    def _pass(self, ids: Sequence[str], total: int) -> dict[str, float]:
        """Go through the ids once; returns those that another replay holds, with the seconds left of its lease."""
        leased: dict[str, float] = {}
        rest = deque(ids)
        while rest:
            batch = [rest.popleft() for _ in range(min(self.terms.batch, len(rest)))]
            self._pace.wait()
            claimed_at = time.monotonic()
            letters = []
            for claim in self._claim(batch):
                if claim.status == "leased":
                    leased[claim.id] = float(claim.detail)
                elif claim.letter is not None:
                    letters.append(claim.letter)
                elif claim.status != "ours":  # published before the one who ran it was killed
                    self._skipped[_SKIPPED.get(claim.status, f"already {claim.detail}")] += 1
            rest.extendleft(reversed(self._publish(letters, claimed_at + self.terms.lease * RENEW_AT, total)))
            self._tell(total)
        return leased

    def _claim(self, batch: Sequence[str]) -> list[Claim]:
        terms = self.terms
        return self.store.claim(
            batch, self.operation, lease=terms.lease, states=terms.states, max_replays=terms.max_replays
        )

    def _publish(self, letters: Sequence[Letter], until: float, total: int) -> list[str]:
        """Publish claimed letters; returns the ids left over when the lease grows short: they are claimed anew."""
        waiting, together = deque(self._pieces(letters)), True
        try:
            while waiting and time.monotonic() < until:
                self._pace.wait()
                due = list(islice(waiting, self._pace.due(len(waiting))))
                together = together and self._publish_together(due)
                if together:
                    waiting = deque(islice(waiting, len(due), None))
                else:
                    self._publish_one(waiting)
                self._mark_if_due(total)
        except BaseException:
            self._give_up([letter.id for piece in waiting for letter in piece])
            raise
        self._mark()
        return [letter.id for piece in waiting for letter in piece]

    def _pieces(self, letters: Sequence[Letter]) -> Iterable[tuple[Letter, ...]]:
        """What goes as one message each."""
        return bundles(letters) if self.terms.regroup else ((letter,) for letter in letters)

    def _publish_together(self, pieces: Sequence[tuple[Letter, ...]]) -> bool:
        """Publish a batch in one round trip, on a transport that can (kombu 5.7 on Redis); elsewhere one after another.

        False when something went wrong: which of them have arrived is not known then, and they are to be published
        again one by one, as other copies.
        """
        if not hasattr(self.publisher, "producer"):
            return False
        ends = []
        try:
            if not all(piece[0].is_replayable for piece in pieces):
                return False
            if self._producer is None:
                self._producer = self._open.enter_context(self.publisher.producer())
            with _batch(self._producer):
                for piece in pieces:
                    message, end = self._trace(self._declared_once(piece), piece)
                    ends.append(end)
                    self.publisher.publish(**message._asdict(), producer=self._producer)
        except Exception as exc:  # noqa: BLE001  # told apart, and reported, when each is published alone
            logger.debug("a batch of %d replays was not published as one: %s", len(pieces), exc)
            self._producer = None
            return False
        self._pace.done(len(pieces))
        for piece, end in zip(pieces, ends, strict=True):
            self._note_published(piece)
            end()
        return True

    def _publish_one(self, waiting: deque[tuple[Letter, ...]]) -> None:
        """Publish the first message and take it off; when the broker is away it stays, and `PublishFailed` goes on."""
        piece, end = waiting[0], _nothing
        try:
            is_sent = self._can_be_sent(piece[0])
            if is_sent:
                message, end = self._trace(together(piece, to_queue=self._queue_for(piece[0])), piece)
                self.publisher.publish(**message._asdict())
        except Exception as exc:  # whatever it is about this letter, the others are not to blame
            end(exc)
            self._failed.update({one.id: f"{type(exc).__name__}: {exc}" for one in piece})
            if isinstance(exc, PublishFailed) and not isinstance(exc, Unroutable):  # the broker is at fault
                raise
            self.store.unclaim([one.id for one in piece], self.operation)
        else:
            if is_sent:
                self._pace.done()
                self._note_published(piece)
                end()
            else:
                self.store.unclaim([piece[0].id], self.operation)
                self._skipped[NOT_REPLAYABLE] += 1
        waiting.popleft()

    @staticmethod
    def _can_be_sent(letter: Letter) -> bool:
        """Raises `ValueError` for one that cannot even be read."""
        if letter.unreadable:
            raise ValueError(letter.detail)
        return letter.is_replayable

    def _note_published(self, piece: tuple[Letter, ...]) -> None:
        for letter in piece:
            self._published += 1
            self._unmarked.append(letter.id)
            warning = self._warn(letter)
            if warning:
                self._warnings[warning] += 1

    def _declared_once(self, piece: tuple[Letter, ...]) -> Outgoing:
        """The message; to a queue that is declared already it goes by name alone, which saves a fifth of the work."""
        message = together(piece, to_queue=self._queue_for(piece[0]))
        if message.queue not in self._declared:
            self._declared.add(message.queue)
            return message
        return message._replace(queue=None, exchange="", routing_key=message.queue) if message.queue else message

    def _queue_for(self, letter: Letter) -> str | None:
        """Another queue than its own: asked for, or because it has none. A message without address would be lost."""
        has_origin = letter.origin.queue or letter.origin.exchange or letter.origin.routing_key
        return self.terms.to_queue or (None if has_origin else self.terms.default_queue)

    def _mark_if_due(self, total: int) -> None:
        if len(self._unmarked) >= BATCH or time.monotonic() - self._marked_at >= MARK_EVERY:
            self._mark()
            self._tell(total)

    def _mark(self) -> None:
        """Note in the store what the broker has confirmed."""
        if self._unmarked:
            self.store.published(self._unmarked, self.operation)
            self._unmarked = []
        self._marked_at = time.monotonic()

    def _give_up(self, ids: Sequence[str]) -> None:
        """Leave the books in order, as far as the store can still be reached; a lease ends by itself."""
        try:
            self._mark()
            self.store.unclaim(ids, self.operation)
        except StoreUnavailable as exc:
            logger.warning(
                "a replay ended without putting its claims back; others may claim them in %.0f s: %s",
                self.terms.lease, exc, extra={"action": "claims_left"},
            )  # fmt: skip

    def _waited(self, until: float, total: int) -> bool:
        """Wait for leases to end, for `LOOK` seconds at most, telling so; False: the time was over before."""
        left = until - time.monotonic()
        if left <= 0:
            return False
        self._tell(total, waiting=left)
        time.sleep(min(left + 0.05, LOOK))  # a little more than the lease, for its last millisecond
        return True

    def _tell(self, total: int, waiting: float | None = None) -> None:
        self._progress(Progress(total, self._published, self._skipped.total(), len(self._failed), waiting))


def _batch(producer: Any) -> AbstractContextManager[Any]:
    """What is published within goes out together, where kombu and the transport can do that."""
    batch: AbstractContextManager[Any] = producer.batch(BATCH) if hasattr(producer, "batch") else nullcontext()
    return batch
