"""One task on a bench: its messages are taken one after the other, each started as a worker starts it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import Task, states

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.received import HEADER
from celery_recovery.decision import Action
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.history import History
from celery_recovery.testing.delivery import Delivery, Ending
from celery_recovery.testing.run import LogLine, Outcome, Run, Sent, Start

if TYPE_CHECKING:
    from celery_recovery.testing.bench import Bench
    from celery_recovery.testing.broker import Waiting
    from celery_recovery.testing.pipeline import Notes
    from celery_recovery.testing.world import World

__all__ = ("Life",)

#: What Celery says in the `Ignore` of `self.replace()`, and what we say in ours -> what was done.
_SAID = (("Replaced by new task", "replaced"), ("put off", "put_off"))

logger = logging.getLogger("celery_recovery")


class Life:
    """What is known of one task so far. `start` takes its next message, `run` tells what became of it."""

    def __init__(self, world: World, first: Waiting) -> None:
        self.id = first.id
        self._world = world
        self._task = first.task
        self._began = first.sent_at
        message = world.broker.message(first)
        args, kwargs, _ = message.payload
        self._args, self._kwargs = tuple(args), dict(kwargs)
        self._replays = History.from_header(first.headers.get(HEADER)).replays
        self._starts: list[Start] = []
        self._letters: list[Letter] = []
        self._sent: list[Sent] = []
        self._log: list[LogLine] = []
        self._ended: Outcome | None = None
        self._result: Any = None
        self._took = 0.0
        #: How often it may start before it is left waiting.
        self.left = world.starts

    @property
    def is_over(self) -> bool:
        """It has ended, and nothing of it waits."""
        return self._ended is not None

    # -- going on

    def start(self, waiting: Waiting) -> None:
        """Take this message: run it, or see that it has expired."""
        clock, broker = self._world.clock, self._world.broker
        clock.move_to(waiting.due)
        delivery = Delivery(broker, self._registered(waiting), waiting)
        self.left -= 1
        with _logged(self._log):
            if waiting.expires is not None and clock.now() >= waiting.expires:
                delivery.revoke()
                self._ended = Outcome.EXPIRED
                self._note(waiting, clock.now(), "expired")
            else:
                self._run(waiting, delivery)
        self._took = _ms(clock.now() - self._began)

    def _run(self, waiting: Waiting, delivery: Delivery) -> None:
        world = self._world
        began, after = world.clock.now(), world.broker.last
        with world.recovery.noting() as notes:
            ending = delivery.run()
        self._took_in(world.news(after))
        done = self._done(ending, notes)
        self._note(waiting, began, done, notes, ending)
        self._result = ending.value if ending.state is None else None
        self._ended = _OUTCOMES.get(done)

    def _registered(self, waiting: Waiting) -> Task:
        task = self._world.app.tasks.get(waiting.task)
        if task is None:
            hint = "Import the module that it is defined in."
            raise ConfigurationError.of("task", expected="a task that is registered", got=waiting.task, hint=hint)
        return task

    def _took_in(self, news: tuple[list[Letter], list[Sent]]) -> None:
        letters, sent = news
        self._letters.extend(letters)
        self._sent.extend(one for one in sent if one.id != self.id)

    def _done(self, ending: Ending, notes: Notes) -> str:
        """What was done, in a word."""
        state = ending.state
        if state is None:
            return "succeeded"
        if state != states.RETRY and any(letter.id == self.id for letter in self._letters):
            return Action.MANUAL_REVIEW.value if _says(notes, Action.MANUAL_REVIEW) else Action.DEAD_LETTER.value
        if self._world.parked_of(self.id) is not None:
            return "parked"
        if state == states.IGNORED:
            told = str(ending.value)
            return next((done for begins, done in _SAID if told.startswith(begins)), "ignored")
        if state == states.REJECTED:
            return "given_back" if ending.value.requeue else "rejected"
        if notes.decision is not None:
            return notes.decision.action.value
        return "retry" if state == states.RETRY else Action.FAIL.value

    def _note(
        self, waiting: Waiting, began: float, done: str, notes: Notes | None = None, ending: Ending | None = None
    ) -> None:
        failure = notes.failure if notes is not None else None
        failed = ending is not None and ending.state == states.FAILURE
        raised = failure.exc if failure is not None else ending.value if ending is not None and failed else None
        self._starts.append(
            Start(
                task=waiting.task,
                attempt=int(waiting.headers.get("retries") or 0) + 1,
                at=_ms(began - self._began),
                runtime=_ms(self._world.clock.now() - began),
                done=done,
                exception=raised,
                error=None if failure is None else failure.info,
                decision=None if notes is None else notes.decision,
            )
        )

    # -- telling

    def _outcome(self, *, parked: bool) -> Outcome:
        if parked:
            return Outcome.PARKED
        is_waiting = self._world.waiting_of(self.id) is not None
        return Outcome.WAITING if is_waiting else self._ended or Outcome.IGNORED

    def run(self, bench: Bench) -> Run:
        """What became of it so far."""
        world = self._world
        parked, due = world.parked_of(self.id), world.due_of(self.id)
        outcome = self._outcome(parked=parked is not None)
        meta = world.stage.backend.get_task_meta(self.id, cache=False)
        state = str(meta.get("status"))
        result = self._result if outcome is Outcome.SUCCEEDED else None
        if outcome is Outcome.SUCCEEDED and state == states.SUCCESS:
            result = meta.get("result")  # as it comes back from the backend
        letter = next((one for one in reversed(self._letters) if one.id == self.id), None)
        return Run(
            id=self.id,
            task=self._task,
            args=self._args,
            kwargs=self._kwargs,
            outcome=outcome,
            result=result,
            state=state,
            starts=tuple(self._starts),
            took=self._took,
            due_in=None if due is None else _ms(max(due - world.clock.now(), 0.0)),
            letter=letter if outcome is Outcome.DEAD_LETTERED else None,
            item_letters=tuple(one for one in self._letters if one.id != self.id),
            parked=parked,
            checkpoint=world.recovery.checkpoints.state(f"id:{self.id}"),
            sent=tuple(self._sent),
            log=tuple(self._log),
            replays=self._replays,
            bench=bench,
        )


#: What was done -> how the run ended by it; what is not here goes on.
_OUTCOMES = {
    "succeeded": Outcome.SUCCEEDED,
    Action.DEAD_LETTER.value: Outcome.DEAD_LETTERED,
    Action.MANUAL_REVIEW.value: Outcome.DEAD_LETTERED,
    Action.FAIL.value: Outcome.FAILED,
    Action.DISCARD.value: Outcome.DISCARDED,
    "ignored": Outcome.IGNORED,
    "rejected": Outcome.REJECTED,
    "replaced": Outcome.REPLACED,
}


def _ms(seconds: float) -> float:
    """To the millisecond: what is behind it is noise of the ETA's text."""
    return round(seconds, 3)


def _says(notes: Notes, action: Action) -> bool:
    return notes.decision is not None and notes.decision.action is action


@contextmanager
def _logged(lines: list[LogLine]) -> Iterator[None]:
    """Keep what is logged meanwhile; lines of level INFO are made even where nobody else wants them."""
    handler, level = _Lines(lines), logger.level
    logger.addHandler(handler)
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


#: What every record of Python's logging has.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "action"}


class _Lines(logging.Handler):
    def __init__(self, lines: list[LogLine]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        action = str(getattr(record, "action", ""))
        self._lines.append(
            LogLine(action=action, level=record.levelname.lower(), message=record.getMessage(), fields=fields)
        )
