"""Tasks that need something that may be away: a key in the ledger says so, and a test can set it."""

from __future__ import annotations

import os
import time
from typing import Any

from celery_recovery import RecoverableTask
from tests.apps.jobs import app, ledger, pause

__all__ = ("app",)


def need(token: str, name: str = "dependency") -> None:
    """Call the dependency: noted, whether it answers or not."""
    ledger().note(token, "call")
    if ledger().client.exists(f"away:{name}"):
        raise ConnectionRefusedError(f"{name} is away")
    ledger().note(token, "done")


#: Opens after four failures in a row, for a second at first.
QUICK = {"consecutive_failures": 4, "minimum_calls": 1000, "open_duration": 1, "max_open_duration": 2,
         "half_open_permits": 1, "permit_lease": 3}  # fmt: skip


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy=QUICK)
def call(token: str) -> str:
    need(token)
    return token


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy=QUICK)
def slow_call(token: str, seconds: float) -> str:
    ledger().note(token, "call")
    time.sleep(seconds)
    need(token)
    return token


@app.task(base=RecoverableTask, circuit=lambda token, tenant: tenant, circuit_policy=QUICK)
def for_tenant(token: str, tenant: Any) -> str:
    need(token, str(tenant))
    return token


@app.task(base=RecoverableTask, circuit=("dependency", "other"), circuit_policy=QUICK)
def both(token: str) -> str:
    need(token)
    return token


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy=QUICK, circuit_on_open="fail")
def impatient(token: str) -> str:
    need(token)
    return token


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy=QUICK, circuit_on_open="dead_letter")
def set_aside(token: str) -> str:
    need(token)
    return token


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy=QUICK)
def picky(token: str) -> None:
    ledger().note(token, "call")
    raise ValueError("bad data says nothing about the dependency")


@app.task(base=RecoverableTask, circuit="budgeted", circuit_policy={"retry_ratio": 0.01, "retry_floor": 3, "window": 2})
def budgeted(token: str) -> str:
    need(token, "budgeted")
    return token


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy={**QUICK, "minimum_calls": 7})
def differs(token: str) -> str:
    need(token)
    return token


@app.task(base=RecoverableTask, circuit=lambda token: {}[token], circuit_policy=QUICK)
def raising(token: str) -> str:
    need(token)
    return token


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy=QUICK)
def stuck(token: str) -> str:
    """Says which process runs it, and hangs until the ledger says that the token is fixed."""
    book = ledger()
    if not book.fixed(token):
        book.client.set(f"pid:{token}", os.getpid())
        pause(token, 60)
    need(token)
    return token


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy=QUICK)
def number(token: str, value: int) -> int:
    need(token)
    return value


@app.task(base=RecoverableTask, circuit="dependency", circuit_policy=QUICK)
def needs_fixing(token: str) -> str:
    if not ledger().fixed(token):
        raise ValueError("not yet")
    need(token)
    return token
