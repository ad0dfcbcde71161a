"""A week of a made-up shop, written where the counts of real workers are: for reports, which look at such times.

charge    the payment service is away for two and a half hours on the fifth day; its circuit opens. Else retries help
parse     a fault came with version 2.4.1: validation errors, never retried
sync      unknown errors that no retry has ever recovered, up to attempt 8
notify    the third attempt is the last, and still recovers four in ten
render    runs out of memory; some of it kills its worker
"""

from __future__ import annotations

import random
import time
from typing import Any

from celery_recovery import Recovery
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.store import CircuitStore
from celery_recovery.monitoring.counting import BUCKET, HOUR
from celery_recovery.monitoring.measures import RECOVERIES, bucket_of
from celery_recovery.monitoring.stats import SuccessRateMonitor
from tests.letters import letter

__all__ = ("CHARGE", "PARSE", "SYNC", "write_circuits", "write_counts", "write_letters", "write_week")

#: Fingerprints of the three largest groups.
CHARGE, PARSE, SYNC = "1:c4a29e0000000001", "1:9a25e00000000002", "1:57c0000000000003"
_RENDER, _NOTIFY = "1:4e2de20000000004", "1:2071f70000000005"
_HOURS = 7 * 24


class Week:
    """Counts one hour after the other."""

    def __init__(self, stats: SuccessRateMonitor, now: float, hours: int = _HOURS) -> None:
        self.stats, self.keys = stats, stats._keys
        self.first = (int(now) // HOUR - hours + 1) * HOUR
        self.hours = range(hours)
        self.random = random.Random(7)

    def add(self, hour: int, task: str, kind: str, **outcomes: int) -> None:
        """Attempts by outcome, spread over some minutes of the hour."""
        begin = self.first + hour * HOUR
        for outcome, count in outcomes.items():
            for part in range(4):
                share = count // 4 + (part < count % 4)
                bucket = begin + self.random.randrange(part * 15, part * 15 + 15) * BUCKET
                self.stats.add(self.keys.rates(bucket), {(task, kind, outcome): share})
            self._measure(hour, {("attempts", task, kind, outcome): count})

    def retries(self, hour: int, task: str, kind: str, group: str, number: int, recovered: int, failed: int,  # noqa: PLR0917
                seconds: float = 0.5) -> None:  # fmt: skip
        labels = (task, kind, group, str(number))
        counts: dict[tuple[str, ...], int] = {}
        for result, count in (("recovered", recovered), ("failed", failed)):
            counts[("retry", *labels, result)] = count
            counts[("retry_ms", *labels, result)] = int(count * seconds * 1000)
        self._measure(hour, counts)

    def dead(self, hour: int, task: str, kind: str, group: str, reason: str, count: int) -> None:
        self._measure(hour, {("dead", task, kind, group, reason): count})

    def took(self, hour: int, task: str, kind: str, seconds: float, count: int) -> None:
        counts = {("recovery", task, kind, bucket_of(seconds, RECOVERIES)): count,
                  ("recovery_ms", task, kind): int(count * seconds * 1000)}  # fmt: skip
        self._measure(hour, counts)

    def measure(self, hour: int, *labels: str, count: int = 1) -> None:
        self._measure(hour, {labels: count})

    def _measure(self, hour: int, counts: dict[Any, int]) -> None:
        self.stats.add(self.keys.measures(self.first + hour * HOUR), counts)


def outage(hour: int) -> bool:
    return 4 * 24 + 14 <= hour < 4 * 24 + 17


def write_counts(stats: SuccessRateMonitor, now: float) -> None:
    """All of the week."""
    week = Week(stats, now)
    for hour in week.hours:
        _charge(week, hour)
        _parse(week, hour)
        _sync(week, hour)
        _notify(week, hour)
        if hour % 5 == 0:
            week.add(hour, "shop.render", "memory", retry=2, dead_letter=1)
            week.retries(hour, "shop.render", "memory", _RENDER, 2, 0, 1, 40.0)
            week.dead(hour, "shop.render", "memory", _RENDER, "poison" if hour % 40 == 0 else "exhausted", 1)
        week.add(hour, "shop.render", "", first_try=30)
        week.measure(hour, "batch", "shop.import_customers", "succeeded", count=400)
        week.measure(hour, "batch", "shop.import_customers", "failed", count=3)
        assert stats.flush()


def _charge(week: Week, hour: int) -> None:
    task, kind = "shop.charge", "network"
    day = 400 if 8 <= hour % 24 <= 20 else 90
    week.add(hour, task, "", first_try=day)
    if outage(hour):
        week.measure(hour, "parked", task, "circuit", "payments-api", count=120)
    failing = 60 if outage(hour) else 8 + hour % 5
    left = failing
    for number in range(2, 9):
        recovered = left // 2
        week.retries(hour, task, kind, CHARGE, number, recovered, left - recovered)
        week.took(hour, task, kind, 2.0 ** (number - 1), recovered)
        week.add(hour, task, kind, recovered=recovered, retry=left)
        left -= recovered
    week.add(hour, task, kind, dead_letter=left)
    week.dead(hour, task, kind, CHARGE, "exhausted", left)


def _parse(week: Week, hour: int) -> None:
    week.add(hour, "shop.parse", "", first_try=200)
    if hour >= 5 * 24 + 9:
        count = 20 + hour % 7
        week.add(hour, "shop.parse", "validation", dead_letter=count)
        week.dead(hour, "shop.parse", "validation", PARSE, "not_retryable", count)


def _sync(week: Week, hour: int) -> None:
    task, kind = "shop.sync", "unknown"
    week.add(hour, task, "", first_try=60)
    if hour % 2:
        return
    for number in range(2, 9):
        week.retries(hour, task, kind, SYNC, number, 3 if number < 4 else 0, 6, 2.0)
        week.add(hour, task, kind, retry=6, recovered=3 if number < 4 else 0)
    week.took(hour, task, kind, 4.0, 6)
    week.add(hour, task, kind, dead_letter=6)
    week.dead(hour, task, kind, SYNC, "exhausted", 6)


def _notify(week: Week, hour: int) -> None:
    task, kind = "shop.notify", "network"
    week.add(hour, task, "", first_try=40)
    if hour % 3:
        return
    week.retries(hour, task, kind, _NOTIFY, 2, 4, 5)
    week.retries(hour, task, kind, _NOTIFY, 3, 2, 3)
    week.add(hour, task, kind, retry=14, recovered=6, dead_letter=3)
    week.took(hour, task, kind, 3.0, 6)
    week.dead(hour, task, kind, _NOTIFY, "exhausted", 3)


def write_letters(recovery: Recovery, now: float) -> None:
    """Some of the letters behind it, of each group."""
    store = recovery.store
    assert store is not None
    of = (
        (CHARGE, "shop.charge", "network", "requests.exceptions.ReadTimeout",
         "HTTPSConnectionPool(host='payments', port=443): Read timed out. (read timeout=10)", 120, 80 * HOUR, "2.4.0"),
        (PARSE, "shop.parse", "validation", "pydantic.ValidationError",
         "1 validation error for Order: lines.0.quantity must be positive, password=hunter2", 900, 39 * HOUR, "2.4.1"),
        (SYNC, "shop.sync", "unknown", "shop.erp.SyncFailed", "ERP said NO: order 4711 is locked", 300, 160 * HOUR,
         "2.4.0"),
        (_RENDER, "shop.render", "memory", "builtins.MemoryError", "", 30, 160 * HOUR, "2.4.0"),
        (_NOTIFY, "shop.notify", "network", "smtplib.SMTPServerDisconnected", "Connection unexpectedly closed", 60,
         160 * HOUR, "2.4.0"),
    )  # fmt: skip
    letters = [
        letter(f"{fingerprint}-{n}", task, died_at=now - span + span * n / count, fingerprint=fingerprint,
               error_type=kind, exception=exception, message=message, code_version=version,
               reason="not_retryable" if kind == "validation" else "exhausted")
        for fingerprint, task, kind, exception, message, count, span, version in of
        for n in range(count)
    ]  # fmt: skip
    for first in range(0, len(letters), 500):
        store.add_many(letters[first : first + 500])


def write_circuits(recovery: Recovery, now: float) -> None:
    """The payments' circuit opens in the outage and probes; another flaps."""
    first = (int(now) // HOUR - _HOURS + 1) * HOUR
    begin = first + (4 * 24 + 14) * HOUR
    _life(recovery, "payments-api", [(begin + 180, 1800), (begin + 1990, 3600), (begin + 5600, 3600)])
    flaps = now - 30 * HOUR
    _life(recovery, "search", [(flaps + n * 240, 60) for n in range(7)])


def _life(recovery: Recovery, name: str, openings: list[tuple[float, float]]) -> None:
    """It opens at these times, for so many seconds."""
    for at, seconds in openings:
        policy = CircuitPolicy(minimum_calls=2, open_duration=seconds, max_open_duration=seconds, half_open_permits=1)
        store = CircuitStore(recovery.circuits.client, recovery.settings.key_prefix, name, policy)
        store.clock = at
        store.report(store.admit().generation, 4, 4)
        store.clock = at + seconds + 1
        store.admit("probe")
        store.clock += 2
        store.report(store.read().generation, 1, 0, 0, "probe")


def write_week(recovery: Recovery, now: float | None = None) -> None:
    """Counts, letters, circuits."""
    now = time.time() if now is None else now
    write_counts(recovery.stats, now)
    write_letters(recovery, now)
    write_circuits(recovery, now)
