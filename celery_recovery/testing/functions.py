"""What tests call: each on the bench that is in use for the task's app, or on a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Task
from celery.canvas import Signature

from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.testing.bench import Bench
from celery_recovery.testing.run import Run

__all__ = ("follow", "replay", "replay_items", "resume", "run_task", "run_workflow")


def run_task(task: Task | Signature, /, *args: Any, **kwargs: Any) -> Run:
    """Run one task through the real pipeline, attempt after attempt, to its end: no broker, no Redis, no waiting.

    `run_task(charge, 4711, amount=5)`, or with options `run_task(charge.s(4711).set(expires=60))`. Raises
    `ConfigurationError` for what is no recoverable task.
    """
    return _bench(task).run(task, *args, **kwargs)


def run_workflow(canvas: Signature, /) -> tuple[Run, ...]:
    """Run a chain, group or chord, and all that follows: a run for each task, in the order in which they were due."""
    return _bench(canvas).run_workflow(canvas)


def follow(run: Run, /) -> tuple[Run, ...]:
    """Run what this task has sent, and what follows it."""
    return run.bench.follow(run)


def resume(run: Run, /) -> Run:
    """Go on with a run that is parked or waiting. The new one tells of the whole life."""
    return run.bench.resume(run)


def replay(run: Run, letter: Letter | None = None, /, *, edit: Sequence[str] | Edit = ()) -> Run:
    """Replay the letter of this run (or that one, of an item), as an operator would once the fault is mended.

    `edit` changes its arguments before, as `dlq edit --set` does: `["kwargs.quantity=3"]`. Raises `NotReplayed`.
    """
    return run.bench.replay(letter or run, edit=edit)


def replay_items(run: Run, /, *, edit: Sequence[str] | Edit = ()) -> tuple[Run, ...]:
    """Replay the items that the batches of this run have set aside, together."""
    return run.bench.replay_items(run, edit=edit)


def _bench(task: Any) -> Bench:
    app = getattr(task, "app", None)
    if app is None:
        raise ConfigurationError.of("task", expected="a task of a Celery app, or a signature", got=task)
    return Bench.of(app)
