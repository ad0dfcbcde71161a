"""Search engines: the HTTP status, and the type that Elasticsearch adds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike

N, S, V, P = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION, ErrorType.PARSING


def api_error(status: int, kind: str | None = None, **headers: str) -> BaseException:
    base = lookalike("elastic_transport.ApiError")
    meta = SimpleNamespace(status=status, headers={key.replace("_", "-"): value for key, value in headers.items()})
    return lookalike("elasticsearch.ApiError", base, meta=meta, body={"error": {"type": kind}})("text")


@pytest.mark.parametrize(
    ("status", "kind", "expected", "retryable"),
    [
        (429, "es_rejected_execution_exception", N, True),
        (409, "version_conflict_engine_exception", S, True),
        (503, "master_not_discovered_exception", N, True),
        (400, "mapper_parsing_exception", V, False),
        (401, "security_exception", N, False),
        (400, "resource_already_exists_exception", V, False),
    ],
)
def test_elasticsearch_8(status: int, kind: str, expected: ErrorType, retryable: bool) -> None:
    """The same faults in the shape of version 7 and OpenSearch."""
    old = lookalike("opensearchpy.exceptions.TransportError")(status, kind, {"error": {"type": kind}})
    for exc in (api_error(status, kind), old):
        info = classify(exc)
        assert (info.error_type, info.is_retryable, info.error_code) == (expected, retryable, f"HTTP {status}")


def test_the_servers_wait_is_kept() -> None:
    """Retry-After on a 429."""
    assert classify(api_error(429, "circuit_breaking_exception", retry_after="7")).retry_after == 7


def test_a_transport_that_never_reached_the_server_is_judged_by_its_cause() -> None:
    """OpenSearch gives ("N/A", text, cause)."""
    exc = lookalike("opensearchpy.exceptions.ConnectionError")("N/A", "refused", ConnectionRefusedError(111, "refused"))
    info = classify(exc)
    assert (info.error_type, info.is_retryable, info.error_code) == (N, True, "ECONNREFUSED")


@pytest.mark.parametrize(
    ("items", "retryable"),
    [
        ([{"index": {"status": 429, "error": {"type": "es_rejected_execution_exception"}}}], True),
        (
            [{"index": {"status": 429}}, {"index": {"status": 400, "error": {"type": "mapper_parsing_exception"}}}],
            False,
        ),
    ],
)
def test_one_permanent_item_makes_a_bulk_permanent(items: list[dict[str, Any]], retryable: bool) -> None:
    """Only what all items share may be waited for."""
    bulk = lookalike("elasticsearch.helpers.BulkIndexError", errors=items)
    assert classify(bulk("2 documents failed", items)).is_retryable is retryable


@pytest.mark.parametrize(
    ("path", "text", "expected", "retryable"),
    [
        ("elastic_transport.ConnectionTimeout", "timed out", N, True),
        ("elastic_transport.TlsError", "certificate", N, False),
        ("elastic_transport.SerializationError", "no JSON", P, False),
        ("pysolr.SolrError", "Failed to connect to server at http://solr", N, True),
        ("pysolr.SolrError", "Solr responded with an error (HTTP 400): [Reason: undefined field]", V, False),
        ("meilisearch.errors.MeilisearchCommunicationError", "refused", N, True),
        ("qdrant_client.http.exceptions.ResponseHandlingException", "timed out", N, True),
    ],
)
def test_other_clients(path: str, text: str, expected: ErrorType, retryable: bool) -> None:
    """By class, or by the status in the text."""
    info = classify(lookalike(path)(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
