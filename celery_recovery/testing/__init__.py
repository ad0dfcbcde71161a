"""For users' own tests: tasks run through the real pipeline in this process, without broker, Redis or waiting.

    from celery_recovery.testing import assert_dead_lettered, assert_succeeded, replay, run_task

    def test_bad_orders_are_dead_lettered():
        run = run_task(import_order, {"quantity": -3})
        assert_dead_lettered(run, ErrorType.VALIDATION, attempts=1)
        assert_succeeded(replay(run, edit=["args.0.quantity:=3"]))

See docs/testing.md. Nothing here imports pytest; `celery_recovery.testing.pytest_plugin` has fixtures.
"""

from __future__ import annotations

from celery_recovery.testing.absent import NotOnTheBench
from celery_recovery.testing.assertions import (
    assert_dead_lettered,
    assert_discarded,
    assert_expired,
    assert_failed,
    assert_items_set_aside,
    assert_parked,
    assert_retried,
    assert_snoozed,
    assert_succeeded,
)
from celery_recovery.testing.assertions_sent import assert_not_sent, assert_sent
from celery_recovery.testing.bench import Bench, NotReplayed
from celery_recovery.testing.circuits import circuit_open
from celery_recovery.testing.clock import FakeClock
from celery_recovery.testing.functions import follow, replay, replay_items, resume, run_task, run_workflow
from celery_recovery.testing.no_delays import no_delays, without_delays
from celery_recovery.testing.run import LogLine, Outcome, Run, Sent, Start

__all__ = (
    "Bench",
    "FakeClock",
    "LogLine",
    "NotOnTheBench",
    "NotReplayed",
    "Outcome",
    "Run",
    "Sent",
    "Start",
    "assert_dead_lettered",
    "assert_discarded",
    "assert_expired",
    "assert_failed",
    "assert_items_set_aside",
    "assert_not_sent",
    "assert_parked",
    "assert_retried",
    "assert_sent",
    "assert_snoozed",
    "assert_succeeded",
    "circuit_open",
    "follow",
    "no_delays",
    "replay",
    "replay_items",
    "resume",
    "run_task",
    "run_workflow",
    "without_delays",
)
