"""NoSQL databases, caches, messaging and warehouses: by their own codes, else by class."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

N, S, V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
C, M, F, P = ErrorType.SCHEMA, ErrorType.MEMORY, ErrorType.FILESYSTEM, ErrorType.PARSING


@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        ("Neo.TransientError.Transaction.DeadlockDetected", S, True),
        ("Neo.TransientError.Transaction.Terminated", S, False),
        ("Neo.TransientError.General.MemoryPoolOutOfMemoryError", M, True),
        ("Neo.ClientError.Cluster.NotALeader", N, True),
        ("Neo.ClientError.Security.Unauthorized", N, False),
        ("Neo.ClientError.Schema.ConstraintValidationFailed", V, False),
        ("Neo.ClientError.Statement.SyntaxError", C, False),
        ("Neo.DatabaseError.Transaction.TransactionCommitFailed", S, False),
    ],
)
def test_neo4j_codes(code: str, expected: ErrorType, retryable: bool) -> None:
    """`Neo.<Classification>.<Category>.<Title>`."""
    info = classify(lookalike("neo4j.exceptions.Neo4jError", code=code)("text"))
    assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, code)


def test_neo4j_drivers_advice_counts() -> None:
    """`is_retryable()` knows what newer servers say."""
    cls = lookalike("neo4j.exceptions.Neo4jError", code="Neo.ClientError.New.Thing", is_retryable=lambda _: True)
    assert classify(cls("text")).is_retryable


def test_cassandra_without_a_host_is_unavailable_unless_every_host_refused_the_password() -> None:
    """NoHostAvailable keeps each host's answer in `errors`."""
    cls = lookalike("cassandra.cluster.NoHostAvailable")
    denied = lookalike("cassandra.AuthenticationFailed")("bad credentials")
    for errors, retryable in (({"a": ConnectionRefusedError()}, True), ({"a": denied, "b": denied}, False)):
        exc = cls("unable to connect", errors)
        exc.errors = errors  # type: ignore[attr-defined]
        assert classify(exc).is_retryable is retryable


@pytest.mark.parametrize(
    ("path", "args", "attrs", "expected", "retryable"),
    [
        ("cassandra.WriteTimeout", ("text",), {}, N, True),
        ("cassandra.InvalidRequest", ("unconfigured table orders",), {}, C, False),
        ("couchbase.exceptions.CasMismatchException", ("text",), {}, S, True),
        ("couchbase.exceptions.DocumentNotFoundException", ("text",), {}, V, False),
        ("couchdb.http.ServerError", ((503, "busy"),), {}, N, True),
        ("couchdb.http.ResourceConflict", ("Document update conflict.",), {}, S, True),
        ("arango.exceptions.ArangoServerError", ("text",), {"error_code": 1200, "http_code": 409}, S, True),
        ("arango.exceptions.ArangoServerError", ("text",), {"error_code": 1210, "http_code": 409}, V, False),
        ("gel.errors.TransactionSerializationError", ("text",), {}, S, True),
        ("rethinkdb.errors.ReqlOpFailedError", ("text",), {}, N, True),
        ("lmdb.MapFullError", ("text",), {}, F, True),
        ("pymemcache.exceptions.MemcacheServerError", (b"out of memory storing object",), {}, M, True),
        ("pymemcache.exceptions.MemcacheServerError", (b"object too large for cache",), {}, V, False),
        ("pylibmc.Error", ("error 31 from memcached_get: (0x1) SERVER HAS FAILED",), {}, N, True),
        ("hazelcast.errors.TargetDisconnectedError", ("text",), {}, N, True),
        ("kazoo.exceptions.ConnectionLoss", (), {}, N, True),
        ("kazoo.exceptions.NoNodeError", (), {}, V, False),
        ("consul.exceptions.ConsulException", ("500 No cluster leader",), {}, N, True),
        ("etcd.EtcdCompareFailed", ("text",), {}, S, True),
        ("nats.js.errors.APIError", ("text",), {"code": 503, "err_code": None}, N, True),
        ("nats.js.errors.APIError", ("text",), {"code": 400, "err_code": 10071}, S, True),
        ("nats.errors.MaxPayloadError", (), {}, V, False),
        ("aiomqtt.exceptions.MqttCodeError", ("text",), {"rc": 7}, N, True),
        ("aiomqtt.exceptions.MqttCodeError", ("text",), {"rc": 135}, N, False),
        ("aiomqtt.exceptions.MqttConnectError", ("text",), {"rc": 5}, N, False),
        ("zmq.error.ZMQError", ("text",), {"errno": 156384763}, S, False),
        ("zmq.error.ZMQError", ("text",), {"errno": errno.EAGAIN}, None, True),
        ("_pulsar.ProducerQueueIsFull", ("text",), {}, S, True),
        ("clickhouse_driver.errors.ServerException", ("text",), {"code": 241}, M, True),
        ("clickhouse_driver.errors.ServerException", ("text",), {"code": 60}, C, False),
        ("clickhouse_connect.driver.exceptions.DatabaseError", ("response code 500\n Code: 202.",), {}, S, True),
        ("clickhouse_connect.driver.exceptions.DatabaseError", ("returned response code 503",), {}, N, True),
        ("snowflake.connector.errors.ProgrammingError", ("text",), {"errno": 2003, "sqlstate": "42S02"}, C, False),
        ("snowflake.connector.errors.DatabaseError", ("text",), {"errno": 250001}, N, True),
        ("trino.exceptions.TrinoQueryError", (), {"error_name": "QUERY_QUEUE_FULL", "error_type": "X"}, S, True),
        ("trino.exceptions.TrinoUserError", (), {"error_name": "X", "error_type": "USER_ERROR"}, C, False),
        ("hdbcli.dbapi.Error", (131, "transaction rolled back"), {"errorcode": 131}, S, True),
        ("_duckdb.CatalogException", ("Table does not exist",), {}, C, False),
        ("influxdb.exceptions.InfluxDBServerError", ("text",), {}, N, True),
    ],
)
def test_codes_and_classes(
    path: str, args: tuple[Any, ...], attrs: dict[str, Any], expected: ErrorType | None, retryable: bool
) -> None:
    """One or two of each library; `expected` is None where several types are right."""
    info = classify(lookalike(path, **attrs)(*args))
    assert info.is_retryable is retryable
    assert expected is None or info.error_type is expected


def test_influxdbs_wait_is_kept() -> None:
    """The client passes on Retry-After of its response."""
    exc = lookalike("influxdb_client.rest.ApiException", status=429, headers={"Retry-After": "12"})("text")
    assert classify(exc).retry_after == 12


def test_hive_keeps_its_sqlstate_in_the_servers_answer() -> None:
    """PyHive's only argument is Thrift's response."""
    response = SimpleNamespace(status=SimpleNamespace(sqlState="42S02", errorMessage="Table not found"))
    info = classify(lookalike("pyhive.exc.OperationalError")(response))
    assert (info.error_type, info.is_retryable, info.error_code) == (C, False, "SQLSTATE 42S02")
