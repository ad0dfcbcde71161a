"""Where dead letters, parked tasks and the memory of attempts are kept."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.doctor.facts import Facts
from celery_recovery.doctor.finding import Found, Severity, check, found
from celery_recovery.doctor.wording import listed

__all__ = ()


@check(
    "no-store",
    Severity.DUPLICATE,
    consequence="Nothing remembers attempts: a message that is delivered again runs again, even where its retry or "
    "its letter is on its way, and a task that kills its worker does so for ever. Letters stay in their queue, where "
    "`recovery dlq` does not see them; nothing is parked.",
    fix='recovery_redis_url = "redis://…"',
)
def no_store(facts: Facts) -> Iterator[Found]:
    """There is no Redis to keep letters and the memory of attempts in."""
    if facts.recoverable and not facts.store:
        why = f", and {facts.store_hint} URLs are not understood" if facts.store_hint else ""
        yield found("recovery_redis_url", f"None; neither broker nor result backend is a Redis that can be used{why}")


@check(
    "intake-off",
    Severity.DELAY,
    consequence="Letters stay in the broker's queue until somebody calls a `recovery` command. Chords that wait for "
    "a held letter are not kept alive meanwhile.",
    fix="recovery_intake = True, on some workers at least.",
)
def intake_off(facts: Facts) -> Iterator[Found]:
    """Workers do not move letters into the store."""
    if facts.store and not facts.settings.intake:
        yield found("recovery_intake", "False")


@check(
    "store-in-cache",
    Severity.LOSS,
    consequence="Clearing that cache (cache.clear() in Django) empties the whole database: dead letters, parked "
    "tasks, and the queues if the broker is there too.",
    fix="Another database or another Redis for the cache.",
)
def store_in_cache(facts: Facts) -> Iterator[Found]:
    """A Django cache lives in the database of the store."""
    if facts.caches:
        yield found("CACHES", f"{listed(facts.caches)}: in the same Redis database")
