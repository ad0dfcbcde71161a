"""The books of a mixed load: every token that was sent is accounted for, by three independent sources.

The ledger tells how often a task's body ran, the result backend what the caller sees, the store which letters there
are. Prefork and threads serve the same queue at once, so that what one pool hands on the other may take.
"""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

import pytest
from celery import chain, chord, group, uuid
from celery.canvas import Signature

from celery_recovery import Filter, LetterState
from tests.integration.jobs_client import Jobs
from tests.services import Worker

#: How often the whole list of kinds is sent: some 800 tasks on each broker, which run some 1,600 times.
ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Line:
    """What the three sources say of one task."""

    #: The result backend's state; None where nobody asks for it.
    state: str | None
    #: The letter's state and reason; None: there is no letter.
    letter: str | None
    #: Lines in the ledger.
    runs: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One task that was sent, and what is to become of it: before the world is fixed, and after."""

    kind: str
    task_id: str | None
    token: str
    before: Line
    after: Line


def well(runs: int = 1) -> tuple[Line, Line]:
    """Succeeds by itself; an operator's work leaves it alone."""
    return (Line("SUCCESS", None, runs),) * 2


def closed(state: str, runs: int) -> tuple[Line, Line]:
    """Ends otherwise, without a letter, for good."""
    return (Line(state, None, runs),) * 2


def dead(reason: str, runs: int, state: str = "FAILURE", then: str = "SUCCESS") -> tuple[Line, Line]:
    """Dies after so many runs; replayed once the world is fixed, it succeeds with one more."""
    return Line(state, f"failed {reason}", runs), Line(then, f"recovered {reason}", runs + 1)


def dropped(reason: str, runs: int, queue: str = "failed") -> tuple[Line, Line]:
    """Dies, and is discarded by the operator."""
    return Line("FAILURE", f"{queue} {reason}", runs), Line("FAILURE", f"discarded {reason}", runs)


#: Comes from another task, later: nothing is to be seen of it yet.
LATER = (Line("PENDING", None, 0), Line("SUCCESS", None, 1))
#: The rest of a chain: Celery marks it as failed with the step before, and a replay of that step brings it back.
FAILED_WITH = (Line("FAILURE", None, 0), Line("SUCCESS", None, 1))

#: kind: the task, its arguments after the token, its keyword arguments, the options it is sent with, what becomes of it
SINGLE: Mapping[str, tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any], tuple[Line, Line]]] = {
    "first try": ("fine", (1,), {}, {}, well()),
    "first try, again": ("fine", (2,), {}, {}, well()),
    "first try, no result": ("fine", (), {}, {"ignore_result": True}, closed("PENDING", 1)),
    "first try, pickled": ("fine", (1,), {}, {"serializer": "pickle"}, well()),
    "first try, later": ("fine", (), {}, {"countdown": 0.5}, well()),
    "compressed": ("flaky", (), {}, {"compression": "gzip"}, well(2)),
    "one network error": ("flaky", (), {}, {}, well(2)),
    "two network errors": ("flaky", (2,), {}, {}, well(3)),
    "with a priority": ("flaky", (), {}, {"priority": 5}, well(2)),
    "in pickle": ("flaky", (), {}, {"serializer": "pickle"}, well(2)),
    "in msgpack": ("flaky", (), {}, {"serializer": "msgpack"}, well(2)),
    "in time": ("flaky", (), {}, {"expires": 600}, well(2)),
    "autoretry": ("auto", (), {}, {}, well(3)),
    "shared": ("jobs.shared", (), {}, {}, well(2)),
    "class-based": ("jobs.importer", (), {}, {}, well(2)),
    "own __call__": ("in_context", (1,), {}, {}, well(2)),
    "before_start": ("prepared", (), {}, {}, well(3)),
    "retry_in": ("controlled", ("retry_in",), {}, {}, well(2)),
    "snooze": ("controlled", ("snooze",), {}, {}, well(2)),
    "discard": ("controlled", ("discard",), {}, {}, closed("FAILURE", 1)),
    "ignore": ("controlled", ("ignore",), {}, {}, closed("PENDING", 1)),
    "reject": ("controlled", ("reject",), {}, {}, closed("FAILURE", 1)),
    "throws": ("expecting", (), {}, {}, closed("FAILURE", 1)),
    "not ours": ("jobs.plain", (), {}, {}, closed("FAILURE", 1)),
    "bad data": ("broken", (), {}, {}, dead("not_retryable", 1)),
    "bad data, pickled": ("broken", (), {}, {"serializer": "pickle"}, dead("not_retryable", 1)),
    "exhausted": ("broken", ("network",), {}, {}, dead("exhausted", 3)),
    "exhausted, msgpack": ("broken", ("network",), {}, {"serializer": "msgpack"}, dead("exhausted", 3)),
    "exhausted, priority": ("broken", ("network",), {}, {"priority": 9}, dead("exhausted", 3)),
    "exhausted, no result": (
        "broken", ("network",), {}, {"ignore_result": True}, dead("exhausted", 3, "PENDING", "PENDING"),
    ),
    "would expire": ("by_hand", (60,), {}, {"expires": 30}, dead("expires", 1)),
    "self.retry": ("by_hand", (0.1, 1), {}, {}, dead("exhausted", 2)),
    "self.retry at once": ("by_hand", (0, 0), {}, {}, dead("exhausted", 1)),
    "self.retry with options": ("by_hand", (0.1, 1), {"priority": 4, "expires": 600}, {}, dead("exhausted", 2)),
    "quarantine": ("controlled", ("quarantine",), {}, {}, dead("quarantined", 1)),
    "stubborn": (
        "broken", ("network",), {}, {},
        (Line("FAILURE", "failed exhausted", 3), Line("FAILURE", "failed exhausted", 6)),
    ),
    "max_retries": ("at_most_twice", (), {}, {}, dropped("exhausted", 2)),
    "cancelled": ("cancelled", (), {}, {}, dropped("exhausted", 3)),
    "review": ("controlled", ("review",), {}, {}, dropped("quarantined", 1, "review")),
}  # fmt: skip


def single(jobs: Jobs, kind: str, mark: str) -> Iterator[Entry]:
    name, args, kwargs, options, ends = SINGLE[kind]
    sent = jobs.sig(name, mark, *args, **kwargs).apply_async(**options)
    yield Entry(kind, sent.id, mark, *ends)


def a_chain(jobs: Jobs, mark: str) -> Iterator[Entry]:
    steps = [jobs.sig("flaky", f"{mark}.0"), once(jobs, f"{mark}.1"), once(jobs, f"{mark}.2")]
    last = chain(*steps).apply_async()
    yield Entry("chain", last.parent.parent.id, f"{mark}.0", *well(2))
    yield Entry("chain", last.parent.id, f"{mark}.1", *well())
    yield Entry("chain", last.id, f"{mark}.2", *well())


def a_broken_chain(jobs: Jobs, mark: str) -> Iterator[Entry]:
    last = chain(once(jobs, f"{mark}.0"), once(jobs, f"{mark}.1", "broken"), once(jobs, f"{mark}.2")).apply_async()
    yield Entry("broken chain", last.parent.parent.id, f"{mark}.0", *well())
    yield Entry("broken chain", last.parent.id, f"{mark}.1", *dead("not_retryable", 1))
    yield Entry("broken chain, the rest", last.id, f"{mark}.2", *FAILED_WITH)


def a_group(jobs: Jobs, mark: str) -> Iterator[Entry]:
    names, ends = ("fine", "flaky", "broken"), (well(), well(2), dead("not_retryable", 1))
    sent = group(jobs.sig(name, f"{mark}.{n}") for n, name in enumerate(names)).apply_async()
    for n, (member, end) in enumerate(zip(sent.results, ends, strict=True)):
        yield Entry("group", member.id, f"{mark}.{n}", *end)


def a_chord(jobs: Jobs, mark: str) -> Iterator[Entry]:
    body = chord([jobs.sig("fine", f"{mark}.0", 1), jobs.sig("fine", f"{mark}.1", 2)])(
        jobs.sig("total", token=f"{mark}.sum")
    )
    for n, member in enumerate(body.parent.results):
        yield Entry("chord", member.id, f"{mark}.{n}", *well())
    yield Entry("chord, body", body.id, f"{mark}.sum", *well())


def a_held_chord(jobs: Jobs, mark: str) -> Iterator[Entry]:
    header = [
        jobs.sig("fine", f"{mark}.0", 1),
        jobs.sig("broken", f"{mark}.1", "validation", 2),
        jobs.sig("broken", f"{mark}.2", "network", 3),
    ]
    body = chord(header)(jobs.sig("total", token=f"{mark}.sum"))
    held = partial(dead, state="QUARANTINED")
    ends = (well(), held("not_retryable", 1), held("exhausted", 3))
    for n, (member, end) in enumerate(zip(body.parent.results, ends, strict=True)):
        yield Entry("held chord", member.id, f"{mark}.{n}", *end)
    yield Entry("held chord, body", body.id, f"{mark}.sum", *LATER)


def chunks(jobs: Jobs, mark: str) -> Iterator[Entry]:
    """One message for several items: it is retried, and dies, as a whole."""
    for name, end in (("fine", well()), ("flaky", well(2)), ("broken", dead("not_retryable", 1))):
        first, second = f"{mark}.{name}.0", f"{mark}.{name}.1"
        jobs.ledger.fix(first)
        items = [[first, 0] if name == "flaky" else [first], [second]]  # the first always succeeds
        sent = jobs.app.signature("celery.starmap", kwargs={"task": jobs.sig(name), "it": items}).apply_async()
        yield Entry(f"chunks {name}", sent.id, second, *end)
        yield Entry(f"chunks {name}, finished items", None, first, *(Line(None, None, line.runs) for line in end))


def links(jobs: Jobs, mark: str) -> Iterator[Entry]:
    after, error = once(jobs, f"{mark}.after"), jobs.sig("noted_error", token=f"{mark}.error")
    sent = jobs.sig("flaky", mark).apply_async(link=after, link_error=error)
    yield Entry("link", sent.id, mark, *well(2))
    yield Entry("link, after", after.id, f"{mark}.after", *well())
    yield Entry("link, errback", None, f"{mark}.error", *closed_unseen(0))


def link_errors(jobs: Jobs, mark: str) -> Iterator[Entry]:
    after, error = once(jobs, f"{mark}.after"), jobs.sig("noted_error", token=f"{mark}.error")
    sent = jobs.sig("broken", mark, "network").apply_async(link=after, link_error=error)
    yield Entry("link_error", sent.id, mark, *dead("exhausted", 3))
    yield Entry("link_error, after", after.id, f"{mark}.after", *LATER)
    yield Entry("link_error, errback", None, f"{mark}.error", *closed_unseen(1))


def closed_unseen(runs: int) -> tuple[Line, Line]:
    """It has no task id that we know."""
    return (Line(None, None, runs),) * 2


def once(jobs: Jobs, token: str, name: str = "fine") -> Signature:
    """A signature that takes nothing from the task before it, with an id that is known beforehand."""
    return jobs.sig(name, token).set(immutable=True, task_id=uuid())


def too_late(jobs: Jobs, mark: str) -> Iterator[Entry]:
    """Nobody runs it; who drops it, the worker (REVOKED) or RabbitMQ (without a word), is a race between them."""
    jobs.sig("fine", mark).apply_async(expires=datetime(2020, 1, 1, tzinfo=timezone.utc))
    yield Entry("too late", None, mark, *closed_unseen(0))


CANVAS = (a_chain, a_broken_chain, a_group, a_chord, a_held_chord, chunks, links, link_errors, too_late)


def send(jobs: Jobs, rounds: int) -> list[Entry]:
    """Each kind in each round, so that all are under way together."""
    entries: list[Entry] = []
    for n in range(rounds):
        for number, kind in enumerate(SINGLE):
            entries += single(jobs, kind, f"{n}.{number}")
        for canvas in CANVAS:
            entries += canvas(jobs, f"{n}.{canvas.__name__}")
    gc.collect()  # results of canvases are cycles; at their end they speak to Redis, which must still be there
    return entries


def books(jobs: Jobs, entries: list[Entry]) -> Counter[tuple[str, Line]]:
    """What the ledger, the backend and the store say of each kind."""
    jobs.dead_letters.drain()
    letters = {letter.id: f"{letter.state} {letter.reason}" for letter in jobs.dead_letters.iterate()}
    pipe = jobs.ledger.client.pipeline(transaction=False)
    for entry in entries:
        pipe.get(f"celery-task-meta-{entry.task_id}")
        pipe.llen(f"ledger:{entry.token}")
    replies = pipe.execute()
    found: Counter[tuple[str, Line]] = Counter()
    for entry, meta, runs in zip(entries, replies[::2], replies[1::2], strict=True):
        state = json.loads(meta)["status"] if meta else "PENDING"
        letter = letters.pop(entry.task_id or "", None)
        found[entry.kind, Line(state if entry.task_id else None, letter, runs)] += 1
    found.update((f"a letter of {task_id}", Line(None, letter, 0)) for task_id, letter in letters.items())
    return found


def balance(jobs: Jobs, entries: list[Entry], when: str, timeout: float = 60) -> None:
    """Wait until the books are as they should be; what is different when time is up fails the test."""
    wanted = Counter((entry.kind, getattr(entry, when)) for entry in entries)

    def difference() -> list[str]:
        found = books(jobs, entries)
        return [f"{n} {kind} more: {line}" for (kind, line), n in (found - wanted).items()] + [
            f"{n} {kind} missing: {line}" for (kind, line), n in (wanted - found).items()
        ]

    deadline = time.monotonic() + timeout
    while (differs := difference()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not differs, f"{when} the repair:\n" + "\n".join(sorted(differs))


def mend(jobs: Jobs, entries: list[Entry]) -> None:
    """The world is fixed, and the operator does the rest."""
    letters = jobs.dead_letters
    letters.discard(Filter.parse({"task": "*.at_most_twice"}), reason="of no use")
    letters.discard(Filter.parse({"task": "*.cancelled"}), reason="of no use")
    letters.discard(Filter(state=(LetterState.REVIEW,)), reason="it was fraud")
    for entry in entries:
        if entry.kind != "stubborn":
            jobs.ledger.fix(entry.token)
    replayed = letters.replay(Filter())
    expected = sum((entry.before.letter or "").startswith("failed") for entry in entries)
    gone = sum((entry.after.letter or "").startswith("discarded") for entry in entries)
    in_review = sum((entry.before.letter or "").startswith("review") for entry in entries)
    assert (replayed.published, replayed.skipped, replayed.failed) == (expected - gone + in_review, {}, {})


def waiting(jobs: Jobs) -> Any:
    """A message that nobody has taken, if there is one."""
    with jobs.app.connection_for_read() as connection:
        return jobs.app.amqp.queues["celery"](connection.default_channel).get()


@pytest.mark.timeout(240)
def test_every_token_is_accounted_for(jobs: Jobs) -> None:
    """Sent = succeeded + dead-lettered + ended on purpose, each run exactly as often as it should; so after replay."""
    workers: tuple[Worker, ...] = (jobs.worker(), jobs.worker(pool="threads", concurrency=4))
    entries = send(jobs, ROUNDS)
    balance(jobs, entries, "before")
    mend(jobs, entries)
    balance(jobs, entries, "after")
    assert [worker.stop() for worker in workers] == [0, 0]
    balance(jobs, entries, "after")
    assert waiting(jobs) is None
