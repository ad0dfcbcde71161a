"""A task and its checkpoints: made when a body first asks for one, finished when it succeeds.

A run that is told that another has taken over is put off: when its message comes again, the other one has ended, and it
is dropped as a twin; or that one died, and it goes on from where that stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Task
from celery.app.task import Context

from celery_recovery.admission import passage_of, put_off
from celery_recovery.batch.fan_out import Part
from celery_recovery.checkpoint import Checkpoint, Run, checkpoint_name
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.history import History

if TYPE_CHECKING:
    from celery_recovery.parts import Parts

__all__ = ("checkpoint_of", "fenced", "finish_checkpoints")


def checkpoint_of(parts: Parts, task: Task, request: Context) -> Checkpoint:
    """The checkpoint of this run, under the task's id. Raises `ConfigurationError` where there is no Redis to keep it.

    A task that is called directly, or eagerly, has one in memory.
    """
    known: dict[str, Checkpoint] = request.__dict__.setdefault("recovery_checkpoints", {})
    run = _run(task, request)
    name = checkpoint_name(run)
    if name in known:
        return known[name]
    alone = request.called_directly or request.is_eager
    store = None if alone else parts.checkpoints
    if store is None and not alone:
        expected = "the URL of a Redis to keep checkpoints in (neither the broker nor the result backend is one)"
        raise ConfigurationError.of("recovery_redis_url", expected=expected, got=None)
    return Checkpoint(store, run, name, known)


def finish_checkpoints(request: Context) -> None:
    """The body has succeeded. Raises `CheckpointFenced`, and `StoreUnavailable`: else the next run would skip all."""
    for checkpoint in request.__dict__.get("recovery_checkpoints", {}).values():
        checkpoint.finish()


def fenced(parts: Parts, task: Task, request: Context) -> BaseException:
    """What a run leaves with that another has taken over: its message comes again later."""
    return put_off(parts, task, request, passage_of(request), "busy")


def _run(task: Task, request: Context) -> Run:
    if request.called_directly:
        return Run(task.name, "")
    passage = passage_of(request)
    history = History.from_header(request.__dict__.get("recovery"), retries=request.retries or 0)
    once = Part.of(request.__dict__.get("recovery")) is not None
    return Run(task.name, request.id, passage.life, passage.step, history.attempt, request.hostname or "", once)
