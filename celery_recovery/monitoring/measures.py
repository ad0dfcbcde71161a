"""What is counted beside rates: retries and what came of them, delays, times to recovery, dead letters by reason.

Two places, both hashes of a JSON list of labels -> count:

- *totals* only grow, and are what Prometheus reads:

      ["attempts", task, error type, outcome]     attempts that ended (outcomes as in `stats.py`)
      ["dead", error type, reason]                dead letters, by the reason of the decision
      ["delay", error type, le]                   delays before retries, in the bucket that ends at `le` seconds
      ["delay_ms", error type]                    their sum, ms
      ["recovery", error type, le]                from the first failure to the success
      ["recovery_ms", error type]
      ["circuit", circuit, state]                 transitions into that state; circuit "": of one nobody declared
      ["group", news]                             groups that were new, grew, came back
      ["batch", task, how]                        items of batches: succeeded, failed, discarded
      ["error", of]                               calls that failed: of "redis", or of the broker at a "publish"

- *hours*, one hash each, are what reports read, and expire with the counts:

      ["retry", task, error type, fingerprint, n, result]    attempts number n that were made after such a failure, and
                                                             "recovered" or "failed"
      ["retry_ms", …the same]                                worker time they took, ms
      ["dead", task, error type, fingerprint, reason]
      ["recovery", task, error type, le], ["recovery_ms", task, error type]
      ["circuit", circuit, state]
      ["batch", task, how]
      ["parked", task, reason, circuit]           times that a task was parked for a circuit, or an empty budget
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from celery_recovery.monitoring.told import Told

__all__ = ("DELAYS", "RECOVERIES", "bucket_of", "ends_of", "for_hours", "for_totals")

#: Upper ends of buckets, seconds.
DELAYS: Sequence[float] = (1, 5, 15, 60, 300, 900, 3600, math.inf)
RECOVERIES: Sequence[float] = (1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400, math.inf)
#: Attempts with numbers of their own; what comes after is counted as one.
MOST_ATTEMPTS = 100

#: What was done about a failure that ends in a letter.
DEAD = ("dead_letter", "manual_review")
#: The failed attempt was none: it asked to wait, or its message was given back.
_NO_ATTEMPT = ("snooze", "given_back")

Labels = tuple[str, ...]


def bucket_of(seconds: float, ends: Sequence[float]) -> str:
    """The end of the bucket in which it falls, as Prometheus writes it."""
    return next(name for end, name in zip(ends, ends_of(ends), strict=True) if seconds <= end)


def ends_of(ends: Sequence[float]) -> Sequence[str]:
    """Upper ends of buckets as Prometheus writes them."""
    return [f"{end:g}" if end < math.inf else "+Inf" for end in ends]


def for_totals(told: Told) -> Counter[Labels]:
    """What is added to the totals."""
    added: Counter[Labels] = Counter()
    kind = told.error_type
    if told.what in DEAD:
        added["dead", kind, told.reason] += 1
    if told.what == "retry" and told.delay is not None:
        added["delay", kind, bucket_of(told.delay, DELAYS)] += 1
        added["delay_ms", kind] += round(told.delay * 1000)
    if told.took is not None:
        added["recovery", kind, bucket_of(told.took, RECOVERIES)] += 1
        added["recovery_ms", kind] += round(told.took * 1000)
    return added


def for_hours(told: Told) -> Counter[Labels]:
    """What is added to this hour."""
    added: Counter[Labels] = Counter()
    task, kind = told.task, told.error_type
    if told.what in DEAD:
        added["dead", task, kind, told.fingerprint, told.reason] += 1
    if told.took is not None:
        added["recovery", task, kind, bucket_of(told.took, RECOVERIES)] += 1
        added["recovery_ms", task, kind] += round(told.took * 1000)
    if told.before is not None and told.what not in _NO_ATTEMPT:
        result = "recovered" if told.what == "recovered" else "failed"
        number = str(min(told.attempt, MOST_ATTEMPTS))
        after = (task, told.before.error_type.value, told.before.fingerprint, number, result)
        count, worked = ("retry", *after), ("retry_ms", *after)
        added[count] += 1
        added[worked] += round(told.runtime * 1000)
    return added


def merged(counts: Iterable[tuple[Labels, int]]) -> Counter[Labels]:
    """The same labels together."""
    sums: Counter[Labels] = Counter()
    for labels, count in counts:
        sums[labels] += count
    return sums
