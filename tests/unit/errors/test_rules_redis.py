"""Redis: error replies by their first word, everything else by class."""

from __future__ import annotations

import pytest
import redis

from celery_recovery.errors import ErrorType, classify
from celery_recovery.errors.rules.redis import by_reply
from tests.unit.errors.lookalike import lookalike

N, S, V, C, M = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION, ErrorType.SCHEMA, ErrorType.MEMORY


@pytest.mark.redis
def test_replies_of_a_real_server(redis_client: redis.Redis) -> None:
    """Wrong kinds of values and unknown commands stay wrong; nobody on the port may come back."""
    redis_client.set("text", "x")
    for command, expected in ((("LPUSH", "text", "1"), V), (("INCR", "text"), V), (("NOSUCHCOMMAND",), C)):
        with pytest.raises(redis.ResponseError) as caught:
            redis_client.execute_command(*command)
        info = classify(caught.value)
        assert (info.error_type, info.is_retryable) == (expected, False)


@pytest.mark.redis
def test_a_lost_race_may_be_run_again(redis_client: redis.Redis) -> None:
    """WATCH is optimistic: Redis' own advice is to repeat."""
    with redis_client.pipeline() as pipe:
        pipe.watch("key")
        redis_client.set("key", "someone else was faster")
        pipe.multi()
        pipe.set("key", "mine")
        with pytest.raises(redis.WatchError) as caught:
            pipe.execute()
    info = classify(caught.value)
    assert (info.error_type, info.is_retryable) == (S, True)


def test_nobody_listens() -> None:
    """A refused connection is the textbook transient fault."""
    with pytest.raises(redis.ConnectionError) as caught:
        redis.Redis(port=1).ping()
    info = classify(caught.value)
    assert (info.error_type, info.is_retryable) == (N, True)


@pytest.mark.parametrize(
    ("text", "expected", "retryable"),
    [
        ("LOADING Redis is loading the dataset in memory", N, True),
        ("READONLY You can't write against a read only replica.", S, True),
        ("OOM command not allowed when used memory > 'maxmemory'.", M, True),
        ("MOVED 3999 127.0.0.1:6381", N, True),
        ("CLUSTERDOWN The cluster is down", N, True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", N, True),
        ("MASTERDOWN Link with MASTER is down", N, True),
        ("BUSY Redis is busy running a script.", S, True),
        ("NOREPLICAS Not enough good replicas to write.", S, True),
        ("UNBLOCKED force unblock from blocking operation", S, True),
        ("MISCONF Redis is configured to save RDB snapshots", S, True),
        ("NOSCRIPT No matching script.", S, False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", V, False),
        ("CROSSSLOT Keys in request don't hash to the same slot", V, False),
        ("NOAUTH Authentication required.", N, False),
        ("NOPERM this user has no permissions", N, False),
        ("EXECABORT Transaction discarded", S, False),
        ("ERR max number of clients reached", S, True),
        ("ERR value is not an integer or out of range", V, False),
        ("ERR Error running script (call to f_1): @user_script:1: READONLY You can't write", S, True),
    ],
)
@pytest.mark.parametrize("package", ["redis", "valkey"])
def test_a_reply_is_known_by_its_first_word(package: str, text: str, expected: ErrorType, retryable: bool) -> None:
    """Also behind `ERR`, and inside a script's error."""
    info = classify(lookalike(f"{package}.exceptions.ResponseError")(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_a_reply_nobody_knows_says_nothing() -> None:
    """A module may invent its own words."""
    assert by_reply("MYMODULE what is this") is None


@pytest.mark.parametrize(
    ("exc", "expected", "retryable"),
    [
        (redis.TimeoutError("Timeout reading from socket"), N, True),
        (redis.BusyLoadingError("loading"), N, True),
        (redis.ReadOnlyError("read only"), S, True),
        (redis.AuthenticationError("invalid username-password pair"), N, False),
        (redis.ConnectionError("Too many connections"), S, True),
        (redis.ConnectionError("Error 1 connecting: certificate verify failed"), N, False),
        (redis.DataError("Invalid input of type"), V, False),
        (redis.exceptions.LockError("Unable to acquire lock within the time specified"), S, True),
        (redis.exceptions.LockError("Cannot release an unlocked lock"), S, False),
        (redis.exceptions.ClusterDownError("CLUSTERDOWN"), N, True),
        (redis.exceptions.RedisClusterException("Redis Cluster cannot be connected"), N, True),
        (redis.exceptions.RedisClusterException("Cluster mode is not enabled on this node"), S, False),
        (redis.sentinel.MasterNotFoundError("No master found for 'm'"), N, True),
    ],
)
def test_redis_py_classes(exc: BaseException, expected: ErrorType, retryable: bool) -> None:
    """The class where it is precise, the text where one class stands for several faults."""
    info = classify(exc)
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_django_redis_is_looked_through() -> None:
    """ConnectionInterrupted stands for whatever redis-py raised."""
    outer = lookalike("django_redis.exceptions.ConnectionInterrupted")
    with pytest.raises(outer) as caught:
        raise outer from redis.ResponseError("WRONGTYPE Operation")
    assert classify(caught.value).error_code == "Redis WRONGTYPE"
