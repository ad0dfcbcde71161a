"""May this message run? Asked of every message that is not simply a first delivery: of those nothing is asked.

    a replay's first start      the store: another copy of it may have started
    a retry, a release, again   custody: moved on, ended, running elsewhere, or poison
    delivered again             the result backend, too: its SUCCESS may be stored already

Whatever cannot be asked, because Redis or the backend is away, runs: twice is better than not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from billiard.exceptions import WorkerLostError
from celery import Task, states
from celery.app.task import Context
from celery.exceptions import Ignore

from celery_recovery.decision import unix_time
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.history import History
from celery_recovery.identity import me
from celery_recovery.passage import Passage, is_unique, sent_at
from celery_recovery.results.owed import chord_is_claimed

if TYPE_CHECKING:
    from celery_recovery.parts import Parts

__all__ = ("AlreadyDone", "admit", "is_first", "note_waiting", "passage_of", "put_off", "replay_of")

logger = logging.getLogger("celery_recovery")

#: Seconds until a message is looked at again that another worker still runs, or that another suspect keeps waiting.
PUT_OFF = {"busy": 5.0, "wait": 2.0}
#: Seconds by which the clocks of a publisher and a worker may differ.
CLOCK_SKEW = 5.0


class AlreadyDone(Ignore):  # type: ignore[misc]  # celery is untyped
    """A message of a task whose success is stored."""


def is_first(request: Context) -> bool:
    """A first delivery of a message that nothing of ours ever touched: most messages are."""
    return "recovery" not in request.__dict__ and not (request.delivery_info or {}).get("redelivered")


def passage_of(request: Context) -> Passage:
    """Where the message stands in the life of its task."""
    return Passage.of(request.id, request.__dict__.get("recovery"), request.properties)


def replay_of(request: Context) -> dict[str, Any] | None:
    """The `replay` part of the header, if this task is a replayed letter; a header may hold anything."""
    header = request.__dict__.get("recovery")
    replay = header.get("replay") if isinstance(header, Mapping) else None
    known = isinstance(replay, dict) and isinstance(replay.get("token"), str) and isinstance(replay.get("copy"), str)
    return replay if known else None


def admit(parts: Parts, task: Task, request: Context) -> BaseException | None:
    """Let the message run (None), or say what it has failed of without running; raises `Ignore` to drop it."""
    header = request.__dict__.get("recovery")
    again = bool((request.delivery_info or {}).get("redelivered"))
    again = again or (isinstance(header, Mapping) and header.get("again") is True)  # put off, it is the same copy
    _admit_replay(parts, task, request, again)
    passage = passage_of(request)
    poison = _admit_passage(parts, task, request, passage, again)
    if poison is None and again:
        _drop_if_stored(parts, task, request, passage)
    return poison


def _admit_replay(parts: Parts, task: Task, request: Context, again: bool) -> None:
    """The first copy of a replayed letter runs; every other is dropped."""
    replay = replay_of(request)
    if replay is None or parts.store is None:
        return
    fresh = not (again or request.retries or History.from_header(request.__dict__["recovery"]).deferrals)
    try:
        verdict = parts.store.started(request.id, replay["token"], replay["copy"], request.hostname or "", fresh=fresh)
    except StoreUnavailable as exc:
        _unchecked(task, request, exc)
        return
    if verdict != "run":
        _drop(task, request, f"replay_{verdict}")


def _admit_passage(parts: Parts, task: Task, request: Context, passage: Passage, again: bool) -> BaseException | None:
    """Ask custody, which from now on knows that it runs here."""
    if parts.custody is None or not passage.life or not (again or passage.step):
        return None
    try:
        started = parts.custody.start(passage, me().boot, request.hostname or "", redelivered=again)
    except StoreUnavailable as exc:
        _unchecked(task, request, exc)
        return None
    if started.verdict in PUT_OFF:
        raise put_off(parts, task, request, passage, started.verdict)
    if started.verdict == "twin":
        _finish_for(task, request, started.ended)
        _drop(task, request, "twin")
    request.recovery_claimed = True
    if started.verdict == "letter":
        return _meant(task, started.ended)
    if started.crashes:
        request.recovery_evidence = {"crashes": list(started.evidence)}
    if started.verdict != "poison":
        return None
    request.recovery_poison = True
    last = started.evidence[-1].get("worker") if started.evidence else ""
    lost: BaseException = WorkerLostError(
        f"its worker died {started.crashes} times while this task ran, last {last or 'unknown'}"
    )
    return lost


def _meant(task: Task, letter: Mapping[str, Any] | None) -> BaseException:
    """What it had failed of when its worker died at writing the letter; `Recovery.act` finds that letter again."""
    try:
        found = task.backend.exception_to_python((letter or {}).get("exc"))
    except Exception:  # noqa: BLE001  # whatever was told of it
        found = None
    lost: BaseException = WorkerLostError("its worker died while its dead letter was written")
    return found if isinstance(found, Exception) else lost


def _drop_if_stored(parts: Parts, task: Task, request: Context, passage: Passage) -> None:
    """Drop a redelivered message whose success is stored; complete what may be missing of it."""
    if request.ignore_result or task.backend.as_uri().startswith(("disabled", "rpc")):
        return
    try:
        meta = task.backend.get_task_meta(request.id, cache=False)
    except Exception as exc:  # noqa: BLE001  # any backend, any error
        _unchecked(task, request, exc)
        return
    if meta.get("status") != states.SUCCESS or not _is_of_this_message(meta, request):
        return
    if request.chord and request.group and hasattr(task.backend, "client"):  # Redis counts each member once
        task.backend.on_chord_part_return(request, states.SUCCESS, meta.get("result"))
        if chord_is_claimed(task.app.backend, request):  # by the process that died at it: the claim ends by itself
            raise put_off(parts, task, request, passage, "busy")
    _drop(task, request, "succeeded", AlreadyDone)


def _is_of_this_message(meta: Mapping[str, Any], request: Context) -> bool:
    """An id that a person chose may have been used before: then the success must be younger than the message."""
    if is_unique(request.id):
        return True
    done, sent = unix_time(meta.get("date_done")), sent_at(request.properties)
    return done is not None and sent is not None and done >= sent - CLOCK_SKEW


def _finish_for(task: Task, request: Context, ended: Mapping[str, Any] | None) -> None:
    """The worker that dead-lettered it may have died before the caller was told; raises what it was to be told."""
    told = ended.get("exc") if isinstance(ended, Mapping) else None
    if not told or request.ignore_result:
        return
    try:
        if task.backend.get_task_meta(request.id, cache=False).get("status") in states.READY_STATES:
            return
        failure = task.backend.exception_to_python(told)
    except Exception as exc:  # noqa: BLE001  # any backend, any error; the letter is safe
        _unchecked(task, request, exc)
        return
    if isinstance(failure, Exception):
        request.recovery_outcome = failure
        raise failure


def put_off(parts: Parts, task: Task, request: Context, passage: Passage, why: str) -> BaseException:
    """Publish it for later; what to leave with."""
    note_waiting(parts, request, passage)
    outcome = request.recovery_outcome = parts.actions.put_off(task, request, passage, PUT_OFF[why], why)
    return outcome


def note_waiting(parts: Parts, request: Context, passage: Passage) -> None:
    """Note that the message leaves without a run and comes again: it will have crashed nothing. Never raises."""
    if parts.custody is not None and "recovery_claimed" in request.__dict__:
        with suppress(StoreUnavailable):
            parts.custody.end(passage, "waiting")


def _drop(task: Task, request: Context, reason: str, how: type[Ignore] = Ignore) -> None:
    context = {"action": "dropped", "task": task.name, "task_id": request.id, "reason": reason}
    logger.info("task %s[%s] dropped: %s", task.name, request.id, reason, extra=context)
    request.recovery_outcome = how(f"dropped: {reason}")
    raise request.recovery_outcome


def _unchecked(task: Task, request: Context, exc: Exception) -> None:
    context = {"action": "unchecked", "task": task.name, "task_id": request.id}
    logger.warning("task %s[%s] starts unchecked: %s", task.name, request.id, exc, extra=context)
