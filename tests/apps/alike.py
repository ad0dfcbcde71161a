"""Tasks that end in every way there is, run by a real worker and in memory: what becomes of them must be alike.

They are not shared: Celery would give them to every app that the tests make.

None knows more than its message, its checkpoint and its arguments tell, so each runs the same here and there.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, NamedTuple

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from celery_recovery import (
    Discard,
    ErrorType,
    Jitter,
    Quarantine,
    RecoverableTask,
    RecoveryStrategy,
    RetryIn,
    RetryPolicy,
    Snooze,
)
from celery_recovery.testing import without_delays

QUICK = RetryPolicy(max_attempts=3, base_delay=0.1, max_delay=0.4, jitter=Jitter.NONE)

app = Celery(
    "alike",
    broker=os.environ.get("CELERY_BROKER_URL", "memory://"),
    backend=os.environ.get("CELERY_RESULT_BACKEND", "cache+memory://"),
)
app.conf.update(
    recovery_policies=dict.fromkeys((ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.UNKNOWN), QUICK),
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
if os.environ.get("ALIKE_NO_DELAYS"):
    without_delays(app)


class Odd(Exception):
    """The domain's own error, unknown to every rule."""


class Busy(Exception):
    """Says when it is worth asking again, as many clients' errors do."""

    def __init__(self) -> None:
        super().__init__("ask again later")
        self.status_code = 429
        self.headers = {"Retry-After": "1"}


def away() -> Exception:
    return ConnectionResetError(104, "Connection reset by peer")


@app.task(shared=False, base=RecoverableTask)
def fine(x: int, y: int = 1) -> list[Any]:
    return [x, (x + y, {"y": y})]


@app.task(shared=False, base=RecoverableTask, bind=True)
def flaky(self: Task, failures: int, kind: str = "network") -> int:
    if self.request.retries < failures:
        raise {"network": away(), "unknown": Odd("order 4711"), "busy": Busy()}[kind]
    return int(self.request.retries)


@app.task(
    shared=False, base=RecoverableTask, bind=True, policy=RetryPolicy(max_attempts=4, base_delay=600, max_delay=6000)
)
def patient(self: Task) -> int:
    """Recovers at last, after an hour or so; snoozes first."""
    recovery = self.request.__dict__.get("recovery") or {}
    if not recovery.get("deferrals"):
        raise Snooze(600)
    if self.request.retries < 3:
        raise away()
    return int(self.request.retries)


@app.task(shared=False, base=RecoverableTask)
def invalid(order: dict[str, Any]) -> int:
    if order["quantity"] < 0:
        raise ValueError(f"quantity must be positive, got {order['quantity']}")
    return int(order["quantity"])


@app.task(shared=False, base=RecoverableTask, bind=True)
def asking(self: Task, how: str) -> Any:
    """Uses one of the instructions, at first."""
    recovery = self.request.__dict__.get("recovery") or {}
    if self.request.retries or recovery.get("deferrals"):
        return [self.request.retries, recovery.get("deferrals")]
    raise {
        "retry_in": RetryIn(0.2, "not yet"),
        "snooze": Snooze(0.2),
        "quarantine": Quarantine("looks like fraud"),
        "review": Quarantine("looks like fraud", review=True),
        "discard": Discard("the order was cancelled"),
        "ignore": Ignore("not today"),
        "reject": Reject("no", requeue=False),
        "cancelled": asyncio.CancelledError(),
        "exit": SystemExit(3),
    }[how]


@app.task(shared=False, base=RecoverableTask, bind=True)
def by_hand(self: Task, failures: int, word: str = "first", max_retries: int | None = None) -> str:
    if self.request.retries < failures:
        exc = Odd("by hand")
        raise self.retry(args=(failures, f"{word}!"), exc=exc, countdown=0.1, max_retries=max_retries)
    return word


@app.task(shared=False, base=RecoverableTask, bind=True, max_retries=1)
def at_most_twice(self: Task) -> None:
    raise away()


@app.task(
    shared=False, base=RecoverableTask, autoretry_for=(KeyError,), retry_kwargs={"max_retries": 2, "countdown": 0.1}
)
def auto(key: str) -> Any:
    return {}[key]


@app.task(shared=False, base=RecoverableTask, throws=(KeyError,))
def expecting() -> None:
    raise KeyError("nothing unusual")


@app.task(shared=False, base=RecoverableTask, policy=RetryPolicy(base_delay=100, max_delay=100, jitter=Jitter.NONE))
def too_late() -> None:
    raise away()


@app.task(shared=False, base=RecoverableTask, policy=RetryPolicy(base_delay=0.3, deadline=0.2, jitter=Jitter.NONE))
def never_in_time() -> None:
    raise away()


@app.task(shared=False, base=RecoverableTask, policies={ErrorType.VALIDATION: RecoveryStrategy.FAIL})
def failing() -> None:
    raise ValueError("no letter, please")


@app.task(shared=False, base=RecoverableTask, recovery_on_dead_letter="hold")
def held() -> None:
    raise ValueError("wait for me")


@app.task(shared=False, base=RecoverableTask)
def unwritable() -> Any:
    """The work is done; its result cannot be stored."""
    return object()


@app.task(shared=False, base=RecoverableTask, ignore_result=True)
def silent() -> None:
    raise ValueError("nobody asks")


@app.task(shared=False, base=RecoverableTask, bind=True)
def counting(self: Task, to: int, failing_at: int) -> list[int]:
    """Goes on where its checkpoint says."""
    begun = self.checkpoint.load(0)
    for n in range(begun, to):
        self.checkpoint.save(n + 1)
        if n == failing_at:
            raise away()
    return [begun, to]


@app.task(shared=False, base=RecoverableTask, bind=True, batch_policy={"flush_every": 1})
def importing(self: Task, rows: list[dict[str, Any]]) -> None:
    """Some rows are bad; some at first only."""
    for row in self.batch(rows, key=lambda row: row["id"]):
        if row["do"] == "bad":
            raise ValueError(f"row {row['id']} is bad")
        if row["do"] == "fraud":
            raise Quarantine(f"row {row['id']} is strange")
        if row["do"] == "discard":
            raise Discard("not wanted")


@app.task(shared=False, base=RecoverableTask, bind=True)
def in_chunks(self: Task, rows: list[int]) -> Any:
    def write(part: list[int]) -> None:
        if bad := [row for row in part if row % 5 == 4]:
            raise ValueError(f"rows {bad} are bad")

    return self.batch.chunks(rows, 4, key=str).each(write)


@app.task(
    shared=False,
    base=RecoverableTask, bind=True, circuit="alike-api",
    circuit_policy={"consecutive_failures": 1, "open_duration": 0.5, "half_open_permits": 1},
)  # fmt: skip
def through_circuit(self: Task) -> list[int]:
    """Its failure opens the circuit, so that its retry is parked until that probes."""
    if not self.request.retries:
        raise away()
    return [self.request.retries, self.request.recovery["deferrals"]]


@app.task(shared=False, base=RecoverableTask, bind=True)
def fanning_out(self: Task, rows: list[int]) -> Any:
    return self.batch.fan_out(rows, 2, to=part)


@app.task(shared=False, base=RecoverableTask, bind=True)
def part(self: Task, rows: list[int]) -> None:
    for row in self.batch(rows):
        if row == 3:
            raise ValueError("row 3 is bad")


class Case(NamedTuple):
    """One call, and what it is there to show."""

    name: str
    task: Any
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed


_ROWS = [{"id": n, "do": {3: "bad", 5: "fraud", 6: "discard", 7: "bad"}.get(n, "")} for n in range(10)]

CASES = (
    Case("success", fine, (4,)),
    Case("recovers", flaky, (2,)),
    Case("exhausted", flaky, (9,)),
    Case("unknown error", flaky, (9, "unknown")),
    Case("retry-after", flaky, (1, "busy")),
    Case("validation", invalid, ({"quantity": -3},)),
    *(Case(how, asking, (how,)) for how in (
        "retry_in", "snooze", "quarantine", "review", "discard", "ignore", "reject", "cancelled", "exit",
    )),
    Case("self.retry", by_hand, (2,)),
    Case("self.retry, used up", by_hand, (9, "first", 1)),
    Case("max_retries", at_most_twice),
    Case("autoretry_for", auto, ("sku",)),
    Case("throws", expecting),
    Case("expires", too_late, (), {"expires": 60}),
    Case("deadline", never_in_time),
    Case("strategy fail", failing),
    Case("hold", held),
    Case("result that cannot be stored", unwritable),
    Case("ignore_result", silent),
    Case("checkpoint", counting, (5, 2)),
    Case("batch", importing, (_ROWS,)),
    Case("chunks", in_chunks, (list(range(12)),)),
    Case("circuit", through_circuit),
    Case("queue and priority", flaky, (1,), {"priority": 3}),
)  # fmt: skip
