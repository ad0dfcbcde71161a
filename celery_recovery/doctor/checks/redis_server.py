"""What the Redis servers keep when they restart, fill up, or fail over."""

from __future__ import annotations

from collections.abc import Iterator

from celery_recovery.doctor.facts import Facts, RedisFacts
from celery_recovery.doctor.finding import Found, Severity, check, found

__all__ = ()

#: What stands in each, as the consequences name it.
_KEEPS = {
    "broker": "every task that waits or runs",
    "store": "every dead letter, every parked task, and what is known of attempts",
    "results": "results, and the counters of chords",
}
#: Connections idle for longer than this are tested before they are used, by kombu (25 s) and by us (30 s).
_TESTED_AFTER = 30
#: Share of maxmemory from which a server counts as full.
_FULL = 0.9


def _keeps(server: RedisFacts, roles: tuple[str, ...]) -> str:
    return "; ".join(_KEEPS[role] for role in roles if role in server.roles)


def _durable(facts: Facts) -> Iterator[RedisFacts]:
    """The servers whose content must not be lost. Results may: a task's books balance without them."""
    return (server for server in facts.redis if server.roles & {"broker", "store"})


@check(
    "redis-not-persistent",
    Severity.LOSS,
    consequence="When this Redis ends, by restart, crash or update, all that it holds is gone: <kept>.",
    fix="appendonly yes, in redis.conf (CONFIG SET appendonly yes, then CONFIG REWRITE).",
)
def redis_not_persistent(facts: Facts) -> Iterator[Found]:
    """A Redis that writes nothing to disk."""
    for server in _durable(facts):
        if server.appendonly is False and server.save == "":
            what = 'appendonly is no, and save is ""'
            yield found(server.subject, what, kept=_keeps(server, ("broker", "store")))


@check(
    "redis-snapshots-only",
    Severity.LOSS,
    consequence="When this Redis crashes or its machine loses power, it comes back as it was at the last snapshot. "
    "What was written since is gone (<kept>), and what was finished since runs again.",
    fix="appendonly yes, in redis.conf (CONFIG SET appendonly yes, then CONFIG REWRITE).",
)
def redis_snapshots_only(facts: Facts) -> Iterator[Found]:
    """A Redis that writes to disk only now and then."""
    for server in _durable(facts):
        if server.appendonly is False and server.save:
            what = f'appendonly is no, and save is "{server.save}"'
            yield found(server.subject, what, kept=_keeps(server, ("broker", "store")))


@check(
    "redis-fsync-off",
    Severity.ADVICE,
    consequence="The operating system decides when writes reach the disk, after half a minute as a rule. A power cut "
    "loses the last of them; a crash of Redis alone loses none.",
    fix="appendfsync everysec",
)
def redis_fsync_off(facts: Facts) -> Iterator[Found]:
    """A Redis that leaves it to the system when writes reach the disk."""
    for server in _durable(facts):
        if server.appendonly and server.appendfsync == "no":
            yield found(server.subject, "appendfsync is no")


@check(
    "redis-write-failing",
    Severity.LOSS,
    consequence="What Redis holds is not on disk, and a restart loses it: <kept>. Meanwhile it may refuse writes "
    "(stop-writes-on-bgsave-error).",
    fix="Look for a full disk or missing rights in the log of Redis; then BGREWRITEAOF or BGSAVE, and ask again.",
)
def redis_write_failing(facts: Facts) -> Iterator[Found]:
    """A Redis that could not write to its disk."""
    for server in _durable(facts):
        if server.failed_writes:
            what = ", ".join(f"{name} is err" for name in server.failed_writes)
            yield found(server.subject, what, kept=_keeps(server, ("broker", "store")))


@check(
    "redis-evicts",
    Severity.LOSS,
    consequence="When memory runs out, Redis deletes keys of its choice without a word: <kept>.",
    fix="maxmemory-policy noeviction, and enough memory; a cache belongs on another Redis.",
)
def redis_evicts(facts: Facts) -> Iterator[Found]:
    """A Redis that deletes any key when it is full."""
    for server in facts.redis:
        policy = server.maxmemory_policy or ""
        if policy.startswith("allkeys") and server.maxmemory:
            yield found(server.subject, _limits(server), kept=_keeps(server, ("broker", "store", "results")))


@check(
    "redis-evicts-expiring",
    Severity.DUPLICATE,
    consequence="When memory runs out, Redis deletes keys that have an expiry. Those are the signs of life of "
    "workers, the memory of attempts, and claims of replays: tasks of living workers are given to others, and twins "
    "run.",
    fix="maxmemory-policy noeviction, and enough memory; a cache belongs on another Redis.",
)
def redis_evicts_expiring(facts: Facts) -> Iterator[Found]:
    """A Redis that deletes keys with an expiry when it is full."""
    for server in _durable(facts):
        policy = server.maxmemory_policy or ""
        if policy.startswith("volatile") and server.maxmemory:
            yield found(server.subject, _limits(server))


@check(
    "redis-would-evict",
    Severity.ADVICE,
    consequence="Nothing is deleted as long as maxmemory is 0. Once somebody sets it, Redis deletes what it holds "
    "when it is full: <kept>.",
    fix="maxmemory-policy noeviction",
)
def redis_would_evict(facts: Facts) -> Iterator[Found]:
    """A Redis that would delete keys if its memory were bounded."""
    for server in _durable(facts):
        if server.maxmemory == 0 and server.maxmemory_policy not in (None, "noeviction"):
            yield found(server.subject, _limits(server), kept=_keeps(server, ("broker", "store")))


@check(
    "redis-almost-full",
    Severity.DELAY,
    consequence="At maxmemory Redis refuses writes: delay() raises, retries and letters wait for room, parked tasks "
    "are not parked, results are not stored.",
    fix="Raise maxmemory, or find what fills it: redis-cli --bigkeys, recovery dlq stats.",
)
def redis_almost_full(facts: Facts) -> Iterator[Found]:
    """A Redis that has little memory left."""
    for server in _durable(facts):
        if server.maxmemory and server.used_memory is not None and server.used_memory >= _FULL * server.maxmemory:
            share = f"{server.used_memory / server.maxmemory:.0%} of maxmemory ({server.maxmemory} bytes)"
            yield found(server.subject, f"{share} used")


def _limits(server: RedisFacts) -> str:
    return f"maxmemory-policy is {server.maxmemory_policy}, maxmemory {server.maxmemory} bytes"


@check(
    "redis-read-only",
    Severity.DUPLICATE,
    consequence="Every write is refused. On the broker nothing can be sent or acknowledged, so what has ended is "
    "delivered again; on the store letters wait in their queue, nothing is parked, and twins are not recognised.",
    fix="The URL of the primary, or sentinel:// for the broker, which finds it.",
)
def redis_read_only(facts: Facts) -> Iterator[Found]:
    """A replica where a primary is needed."""
    for server in _durable(facts):
        if server.replica:
            yield found(server.subject, "it is a replica")


@check(
    "redis-cluster",
    Severity.DUPLICATE,
    consequence="The clients of the broker and of the store talk to this one node, and every command about a key of "
    "another node is refused. On the store letters wait in their queue, nothing is parked, and twins are not "
    "recognised.",
    fix='recovery_redis_url = "redis://…", of a Redis that is no cluster, or of a cluster with one master.',
)
def redis_cluster(facts: Facts) -> Iterator[Found]:
    """A Redis that has only a part of the keys."""
    for server in _durable(facts):
        if (server.cluster_size or 0) > 1:
            yield found(server.subject, f"one of {server.cluster_size} masters of a cluster")


@check(
    "redis-failover",
    Severity.ADVICE,
    consequence="Replicas follow some milliseconds behind. When one takes over, the last writes of the old primary "
    "are lost; one that is cut off from its replicas goes on taking writes that are lost later.",
    fix="min-replicas-to-write 1 and min-replicas-max-lag 10, in redis.conf.",
)
def redis_failover(facts: Facts) -> Iterator[Found]:
    """A primary that goes on without its replicas."""
    for server in _durable(facts):
        if server.replicas and server.min_replicas_to_write == 0:
            what = f"{server.replicas} replica{'s' if server.replicas > 1 else ''}, min-replicas-to-write is 0"
            yield found(server.subject, what)


@check(
    "redis-too-old",
    Severity.LOSS,
    consequence="Kombu gives back the messages of dead workers with ZRANGE … BYSCORE, which this Redis does not "
    "know: they stay where they are, and their tasks are never run.",
    fix="Redis 6.2 or later.",
)
def redis_too_old(facts: Facts) -> Iterator[Found]:
    """A broker's Redis before 6.2."""
    for server in _durable(facts):
        if "broker" in server.roles and server.version is not None and server.version < (6, 2):
            yield found(server.subject, f"version {'.'.join(map(str, server.version))}")


@check(
    "redis-idle-timeout",
    Severity.ADVICE,
    consequence="Redis closes connections before their clients test them (after 25 to 30 s). The first command on "
    "such a connection fails; an acknowledgement that fails so lets its task run again.",
    fix="timeout 0, or at least 60, in redis.conf.",
)
def redis_idle_timeout(facts: Facts) -> Iterator[Found]:
    """A Redis that closes idle connections early."""
    for server in _durable(facts):
        if server.idle_timeout and server.idle_timeout <= _TESTED_AFTER:
            yield found(server.subject, f"timeout is {server.idle_timeout} s")


@check(
    "redis-unreachable",
    Severity.UNKNOWN,
    consequence="Whether it keeps what it is given, on disk and in memory, was not checked.",
    fix="Ask again from where it can be reached.",
)
def redis_unreachable(facts: Facts) -> Iterator[Found]:
    """A Redis that did not answer."""
    for server in facts.redis:
        if server.error:
            yield found(server.subject, f"could not be asked: {server.error}")


@check(
    "redis-config-refused",
    Severity.UNKNOWN,
    consequence="Persistence, eviction and replication are known only as far as INFO tells; checks that need the rest "
    "said nothing.",
    fix="Allow CONFIG GET to this user (ACL: +config|get), or look up in the provider's console: <settings>.",
)
def redis_config_refused(facts: Facts) -> Iterator[Found]:
    """A Redis that does not tell its settings."""
    for server in _durable(facts):
        if server.config_error:
            asked = {"save": server.save, "appendfsync": server.appendfsync, "appendonly": server.appendonly,
                     "maxmemory-policy": server.maxmemory_policy, "timeout": server.idle_timeout,
                     "min-replicas-to-write": server.min_replicas_to_write}  # fmt: skip
            missing = ", ".join(name for name, value in asked.items() if value is None)
            what = f"could not ask for {missing} (CONFIG refused: {server.config_error})"
            yield found(server.subject, what, settings=missing)
