"""`World`: what happens on one bench. Messages wait, the one that is due first is taken, and time is set to it."""

from __future__ import annotations

from celery import Celery

from celery_recovery.backoff import RandomSource
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.received import clean_headers
from celery_recovery.parking.parked import ParkedTask
from celery_recovery.recovery import Recovery
from celery_recovery.testing.broker import Waiting
from celery_recovery.testing.clock import FakeClock
from celery_recovery.testing.life import Life
from celery_recovery.testing.pipeline import BenchRecovery
from celery_recovery.testing.run import Sent
from celery_recovery.testing.stage import Stage

__all__ = ("World",)

#: Starts in one call, of all tasks together: more is work that makes work without end.
MOST_STARTS = 10_000


class World:
    """Broker, backend, stores and pipeline of one app in memory, and the lives of its tasks."""

    def __init__(self, app: Celery, clock: FakeClock, dice: RandomSource, starts: int) -> None:
        self.app = app
        self.clock = clock
        #: How often a task may start in one call.
        self.starts = starts
        self.recovery = BenchRecovery(app, Recovery.of(app), clock, dice)
        self.stage = Stage(app, self.recovery, clock)
        self.broker = self.stage.broker
        self.lives: dict[str, Life] = {}

    # -- what waits

    @property
    def letter_queue(self) -> str:
        """Name of the queue that letters are published to."""
        return str(self.recovery.dead_letter_queue.name)

    def tasks(self) -> list[Waiting]:
        """The messages of tasks, in the order of publication."""
        return [one for one in self.broker if one.queue != self.letter_queue]

    def waiting_of(self, task_id: str) -> Waiting | None:
        """The message of this task that is due first."""
        return min((one for one in self.tasks() if one.id == task_id), key=_order, default=None)

    def parked_of(self, task_id: str) -> ParkedTask | None:
        """The parked message of this task."""
        return self.recovery.parking.of(task_id)

    def due_of(self, task_id: str) -> float | None:
        """When it starts again (unix s); None: never, or nobody knows."""
        waiting, parked = self.waiting_of(task_id), self.parked_of(task_id)
        if waiting is not None:
            return waiting.due
        return None if parked is None else self._goes_back(parked)

    def news(self, after: int) -> tuple[list[Letter], list[Sent]]:
        """What came to the broker behind this number: letters go to the store, as a worker's intake takes them."""
        published = [one for one in self.broker if one.number > after]
        letters = [self._stored(one) for one in published if one.queue == self.letter_queue]
        return letters, [self.sent(one) for one in published if one.queue != self.letter_queue]

    def sent(self, waiting: Waiting) -> Sent:
        """A message as tests see it."""
        args, kwargs, _ = self.broker.message(waiting).payload
        return Sent(
            id=waiting.id,
            task=waiting.task,
            args=tuple(args),
            kwargs=dict(kwargs),
            queue=waiting.queue,
            delay=round(max(waiting.due - waiting.sent_at, 0.0), 3),
            expires=None if waiting.expires is None else round(waiting.expires - waiting.sent_at, 3),
            priority=waiting.priority,
            headers=clean_headers(waiting.headers),
        )

    def _stored(self, waiting: Waiting) -> Letter:
        message = self.broker.take(waiting)
        letter = Letter.from_message(
            message.body, message.headers, message.properties, message.content_type, message.content_encoding
        )
        self.recovery.letters.add(letter)
        return self.recovery.letters.get(letter.id) or letter

    # -- what happens

    def begin(self, first: Waiting) -> Life:
        """A task begins with this message; what was known of its id before is another life."""
        life = self.lives[first.id] = Life(self, first)
        return life

    def go_on(self, ids: set[str] | None, *, follow: bool = False) -> list[Life]:
        """Start what is due first among these tasks (None: all), until nothing is left; in the order of first starts.

        `follow`: also what they send. Raises RuntimeError where that has no end.
        """
        started: dict[str, Life] = {}
        last = ""
        for _ in range(MOST_STARTS):
            found = self._first(ids)
            while isinstance(found, ParkedTask):
                self._release(found)
                found = self._first(ids)
            if found is None:
                return list(started.values())
            life = self.lives.get(found.id)
            if life is None or (follow and life.is_over and found.id not in started):
                life = self.begin(found)
            started[found.id], last = life, found.task
            after = self.broker.last
            life.start(found)
            if follow and ids is not None:
                ids |= {one.id for one in self.tasks() if one.number > after}
        raise RuntimeError(f"{MOST_STARTS:,} starts in one call, the last of {last}: it has no end")

    def _first(self, ids: set[str] | None) -> Waiting | ParkedTask | None:
        """What goes on first of these tasks."""
        now = self.clock.now()
        found: list[tuple[float, int, Waiting | ParkedTask]] = [
            (max(one.due, now), one.number, one) for one in self.tasks() if self._may_start(one.id, ids)
        ]
        for number, parked in enumerate(self.recovery.parking):
            due = self._goes_back(parked)
            if due is not None and self._may_start(parked.id, ids):
                found.append((max(due, now), number, parked))
        return min(found, key=lambda one: one[:2])[2] if found else None

    def _may_start(self, task_id: str, ids: set[str] | None) -> bool:
        life = self.lives.get(task_id)
        return (ids is None or task_id in ids) and (life is None or life.left > 0)

    def _goes_back(self, parked: ParkedTask) -> float | None:
        return self.recovery.parking.goes_back(parked, self.recovery.circuits)

    def _release(self, parked: ParkedTask) -> None:
        due = self._goes_back(parked)
        if due is not None:
            self.clock.move_to(due)
        self.recovery.parking.release(parked, self.recovery.publisher)


def _order(waiting: Waiting) -> tuple[float, int]:
    return waiting.due, waiting.number
