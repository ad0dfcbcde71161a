"""`Bench`: an application on the workbench, with broker, stores, results and clock in memory.

    with Bench(app) as bench:
        client.post("/orders", …)                 # what it sends stays on the bench
        assert_sent(bench, charge.s(4711))
        run = bench.run(charge, 4711)             # or bench.drain(): all that waits

What runs is the real pipeline, and around it Celery's own tracer: admission, classification, decision, the retry as it
would be published, the letter as the dead-letter queue would hold it, result, callbacks, chains and chords. The next
attempt is started from the very message that the last one left, and the clock is set to when that is due.

`run_task` and the other functions of this package use the bench that is in use for the task's app, or make one.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from celery import Celery, Task
from celery.canvas import Signature
from celery.canvas import chain as chain_
from celery.canvas import chord as chord_
from celery.canvas import group as group_
from celery.local import Proxy

from celery_recovery.backoff import RandomSource
from celery_recovery.circuit.breaker import CircuitBreaker
from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.replay import MAX_REPLAYS, Replay, Terms
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.redact import Redactor
from celery_recovery.task import RecoverableTask
from celery_recovery.testing.circuits import open_circuits
from celery_recovery.testing.clock import FakeClock
from celery_recovery.testing.dice import Longest
from celery_recovery.testing.in_use import all_of, enter, leave
from celery_recovery.testing.run import Run, Sent
from celery_recovery.testing.world import World

__all__ = ("Bench", "NotReplayed")


class NotReplayed(AssertionError):
    """A letter could not be replayed."""


class Bench:
    """One app in memory. As a context manager, so that what the test itself sends stays here, too; may be nested.

    `clock`: whose time counts, default a new `FakeClock`. `dice`: what jitter throws; default the longest delay that
    it allows, the same each time. `starts`: how often a task may start in one call before it is left waiting.
    """

    def __init__(
        self, app: Celery, *, clock: FakeClock | None = None, dice: RandomSource | None = None, starts: int = 100
    ) -> None:
        if not isinstance(starts, int) or isinstance(starts, bool) or starts < 1:
            raise ConfigurationError.of("bench.starts", expected="a whole number >= 1", got=starts)
        self.app = _real(app)
        self.clock = clock or FakeClock()
        self._world = World(self.app, self.clock, dice or Longest(), starts)
        self._depth = 0

    @classmethod
    def of(cls, app: Celery) -> Bench:
        """The one that is in use for this app, or a new one."""
        known = all_of(_real(app))
        return known[-1] if known else cls(app)

    def __enter__(self) -> Bench:  # noqa: PYI034  # `Self` is not in Python 3.10
        if not self._depth:
            self._world.stage.enter()
        self._depth += 1
        enter(self)
        open_circuits(self)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        leave(self)
        self._depth -= 1
        if not self._depth:
            self._world.stage.leave()

    # -- running

    def run(self, task: Task | Signature, /, *args: Any, **kwargs: Any) -> Run:
        """Send this task, and run it to its end. Options are those of a signature: `charge.s(1).set(expires=60)`.

        Raises `ConfigurationError` for what is no recoverable task.
        """
        signature, world = _signature(task), self._world
        with self:
            sent = signature.apply_async(args, kwargs)
            first = world.waiting_of(sent.id)
            if first is None:
                raise ConfigurationError.of("task", expected="a task that is sent by `apply_async`", got=signature.task)
            life = world.begin(first)
            world.go_on({first.id})
            return life.run(self)

    def run_workflow(self, canvas: Signature, /) -> tuple[Run, ...]:
        """Send a chain, group, chord or any other canvas, and run all of it, in the order in which it is due."""
        with self:
            after = self._world.broker.last
            canvas.apply_async()
            return self._all({one.id for one in self._world.tasks() if one.number > after})

    def drain(self) -> tuple[Run, ...]:
        """Run all that waits, and what that sends, in the order in which it is due."""
        with self:
            return self._all(None)

    def follow(self, run: Run, /) -> tuple[Run, ...]:
        """Run what a task has sent and what follows it, and what that sends, in the order in which it is due."""
        with self:
            return self._all({run.id, *(sent.id for sent in run.sent)})

    def resume(self, run: Run, /) -> Run:
        """Go on with a run that was parked, or left waiting; the new run tells of all of it."""
        with self:
            life = self._world.lives[run.id]
            life.left = self._world.starts
            self._world.go_on({run.id})
            return life.run(self)

    def _all(self, ids: set[str] | None) -> tuple[Run, ...]:
        for life in self._world.lives.values():
            life.left = self._world.starts
        return tuple(life.run(self) for life in self._world.go_on(ids, follow=True))

    # -- replaying

    def replay(self, what: Run | Letter, /, *, edit: Sequence[str] | Edit = ()) -> Run:
        """Replay the letter of a run, as an operator would: from a first attempt, with the history behind it.

        `edit`: what is changed in it before, as `dlq edit --set` takes it: `["kwargs.quantity=3"]`. Raises
        `NotReplayed`, and `ConfigurationError` for an edit that does not fit.
        """
        (run,) = self._replayed([_letter_of(what)], edit)
        return run

    def replay_items(self, run: Run, /, *, edit: Sequence[str] | Edit = ()) -> tuple[Run, ...]:
        """Replay the items that a batch has set aside, together, as `dlq replay` does: a run for each message.

        Raises `NotReplayed`, and `ConfigurationError`.
        """
        if not run.item_letters:
            raise NotReplayed(f"no item of it was set aside\n{run}")
        return self._replayed(run.item_letters, edit)

    def _replayed(self, letters: Sequence[Letter], edit: Sequence[str] | Edit) -> tuple[Run, ...]:
        world, ids = self._world, [letter.id for letter in letters]
        with self:
            for letter in letters if edit else ():
                self._edit(letter, edit if isinstance(edit, Edit) else Edit.of(edit))
            after = world.broker.last
            queue = self.app.conf.task_default_queue
            terms = Terms(default_queue=queue, max_replays=MAX_REPLAYS, regroup=len(letters) > 1)
            store: Any = world.recovery.letters
            with Replay(store, world.recovery.publisher, uuid.uuid4().hex, terms) as operation:
                told = operation.run(ids)
            if told.published != len(ids):
                why = told.stopped or ", ".join((*told.skipped, *told.failed.values()))
                raise NotReplayed(f"{len(ids) - told.published} of {len(ids)} letters were not replayed: {why}")
            lives = [world.begin(one) for one in world.tasks() if one.number > after]
            world.go_on({life.id for life in lives})
            return tuple(life.run(self) for life in lives)

    def _edit(self, letter: Letter, edit: Edit) -> None:
        letters = self._world.recovery.letters
        status = letters.edit(edit.onto(self.app, letters.get(letter.id) or letter), by="test")
        if status != "edited":
            raise NotReplayed(f"letter {letter.id} cannot be edited: {status}")

    # -- looking

    @property
    def redact(self) -> Redactor:
        """Hides secrets in what is told of runs, by the app's own patterns, too."""
        return self._world.recovery.redact

    @property
    def waiting(self) -> tuple[Sent, ...]:
        """The tasks that were sent and have not run."""
        return tuple(map(self._world.sent, self._world.tasks()))

    @property
    def letters(self) -> tuple[Letter, ...]:
        """All dead letters, as they are now."""
        return tuple(self._world.recovery.letters)

    def letter(self, letter_id: str) -> Letter:
        """One letter as it is now: `letter.state` says what became of it. Raises KeyError."""
        found = self._world.recovery.letters.get(letter_id)
        if found is None:
            raise KeyError(letter_id)
        return found

    def circuit(self, name: str) -> CircuitBreaker:
        """The circuit of this name, as the tasks of this bench go through it."""
        return self._world.recovery.circuits.get(name)

    def checkpoint(self, name: str) -> Any:
        """What is saved under this name (`"id:…"`, `"key:<task>:…"`); None: nothing, or its task has succeeded."""
        return self._world.recovery.checkpoints.state(name)


def _real(app: Celery) -> Celery:
    """The app itself, where a proxy was given, as `celery.current_app` is one."""
    found: Celery = app._get_current_object() if isinstance(app, Proxy) else app  # noqa: SLF001
    if not isinstance(found, Celery):
        raise ConfigurationError.of("bench.app", expected="a Celery app", got=app)
    return found


def _signature(task: Task | Signature) -> Signature:
    """The signature of one recoverable task. Raises `ConfigurationError`."""
    if isinstance(task, (chain_, group_, chord_)):
        expected = "one task, or the signature of one"
        raise ConfigurationError.of("task", expected=expected, got=task, hint="A workflow goes to run_workflow().")
    signature = task if isinstance(task, Signature) else task.s() if isinstance(task, Task) else None
    if signature is None or not isinstance(signature.type, RecoverableTask):
        raise ConfigurationError.of("task", expected="a task with base=RecoverableTask, or its signature", got=task)
    return signature


def _letter_of(what: Run | Letter) -> Letter:
    letter = what if isinstance(what, Letter) else what.letter
    if letter is not None:
        return letter
    hint = "" if isinstance(what, Letter) or not what.item_letters else " Its items can be: replay_items()."
    raise NotReplayed(f"there is no letter to replay.{hint}\n{what}")
