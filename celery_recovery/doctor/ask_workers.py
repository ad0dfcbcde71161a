"""Asking running workers what they are, by Celery's remote control."""

from __future__ import annotations

import re
from typing import Any

from celery import Celery

from celery_recovery.doctor.ask_redis import reason
from celery_recovery.doctor.facts import WorkerFacts

__all__ = ("ask",)

#: Attributes of a task by which a worker with our base tells itself from one without.
_MARKS = ("Request", "Strategy")
_SOFTWARE = re.compile(r"celery:(\S+).*?kombu:(\S+) py:(\S+)", re.DOTALL)


def ask(app: Celery, timeout: float) -> tuple[tuple[WorkerFacts, ...] | None, str | None]:
    """The workers that answer within `timeout` seconds, and why they could not be asked. Never raises.

    Only the first question waits for the whole time; the others end with the last answer of those who gave one.
    """
    try:
        queues = app.control.inspect(timeout=timeout).active_queues() or {}
        inspect = app.control.inspect(list(queues), timeout=timeout, limit=len(queues))
        answers: list[dict[str, Any]] = [{}, {}, {}]
        if queues:
            answers = [found or {} for found in (inspect.registered(*_MARKS), inspect.stats(), inspect.report())]
    except Exception as exc:  # noqa: BLE001  # any transport, any error; the report says which
        return None, reason(exc)
    registered, stats, reports = answers
    return tuple(
        _worker(name, queues[name], registered.get(name), stats.get(name), reports.get(name)) for name in sorted(queues)
    ), None


def _worker(name: str, queues: Any, tasks: Any, stats: Any, report: Any) -> WorkerFacts:
    """An answer may be an error, or of another version: whatever has not the expected shape is not known."""
    lines = [line for line in tasks if isinstance(line, str)] if isinstance(tasks, list) else None
    names = None if lines is None else {line.partition(" [")[0]: "celery_recovery" in line for line in lines}
    return WorkerFacts(
        name=name,
        pool=_pool(stats),
        queues=frozenset(str(queue.get("name")) for queue in queues if isinstance(queue, dict)),
        registered=None if names is None else frozenset(names),
        recoverable=frozenset(task for task, marked in (names or {}).items() if marked),
        software=_software(report),
    )


def _pool(stats: Any) -> str | None:
    """`celery.concurrency.thread:TaskPool` as the word that `--pool` takes."""
    pool = stats.get("pool") if isinstance(stats, dict) else None
    path = pool.get("implementation") if isinstance(pool, dict) else None
    if not isinstance(path, str):
        return None
    module = path.partition(":")[0].rpartition(".")[2]
    return "threads" if module == "thread" else module


def _software(report: Any) -> str | None:
    match = _SOFTWARE.search(str(report.get("ok"))) if isinstance(report, dict) else None
    return f"celery {match[1]}, kombu {match[2]}, python {match[3]}" if match else None
