"""Search engines: Elasticsearch, OpenSearch, Solr, Meilisearch, Typesense; vector stores: Qdrant, Weaviate, Milvus.

They answer over HTTP; the status says most. What Elasticsearch adds is the type of the exception on the server
(`error.type` in the body).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import number
from celery_recovery.errors.retry_after import from_headers
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, each, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_P = ErrorType.PARSING

_LOST = transient(_N, rule="connection")
_TIMED_OUT = transient(_N, rule="timeout")
_DENIED = permanent(_N, rule="denied", severity=ErrorSeverity.HIGH)
_VALUE = permanent(_V, rule="value")
_BUG = permanent(_S, rule="misuse")
_UNREADABLE = permanent(_P, rule="serialization")

# error.type of the body -> (type, retryable), where it says more than the status
_TYPES: dict[str, tuple[ErrorType, bool]] = {
    "version_conflict_engine_exception": (_S, True),  # optimistic concurrency: read again and repeat
    "es_rejected_execution_exception": (_N, True),
    "rejected_execution_exception": (_N, True),
    "circuit_breaking_exception": (_N, True),  # the server protects its memory
    "cluster_block_exception": (_S, True),  # read-only while the disk is over its flood stage, or no master
    "process_cluster_event_timeout_exception": (_N, True),
    "master_not_discovered_exception": (_N, True),
    "no_shard_available_action_exception": (_N, True),
    "unavailable_shards_exception": (_N, True),
    "node_closed_exception": (_N, True),
    "snapshot_in_progress_exception": (_S, True),
    "resource_already_exists_exception": (_V, False),
    "too_many_buckets_exception": (_V, False),
    "too_many_clauses": (_V, False),
    "index_closed_exception": (_V, False),
    "search_context_missing_exception": (_S, True),  # the scroll ran out: start it again
}


def _type_of(body: Any) -> str | None:
    error = body.get("error") if isinstance(body, Mapping) else None
    kind = error.get("type") if isinstance(error, Mapping) else error
    return kind if isinstance(kind, str) else None


def _answered(status: Any, body: Any, headers: Any = None) -> Verdict | None:
    kind = _type_of(body) or (body if isinstance(body, str) else None)
    found = _TYPES.get(kind) if kind is not None else None
    if found is not None and kind is not None:
        wait = from_headers(headers) if headers is not None and found[1] else None
        context = {"status": number(status), "type": kind}
        return Verdict(*found, f"HTTP {status}", rule=f"type.{kind}", retry_after=wait, context=context)
    if number(status) == 409:
        return transient(_S, "HTTP 409", rule="conflict", context={"status": 409})
    return by_status(status, headers)


def _api(exc: Any) -> Answer:
    """Elasticsearch 8: `meta` (status, headers) and `body`."""
    meta = getattr(exc, "meta", None)
    status = getattr(meta, "status", None) or getattr(exc, "status_code", None)
    return _answered(status, getattr(exc, "body", None), getattr(meta, "headers", None)) or _LOST


def _transport(exc: Any) -> Answer:
    """Elasticsearch 7, OpenSearch: the arguments are status (or "N/A", "TIMEOUT"), error, and the body or cause."""
    args = exc.args
    status = number(args[0]) if args else None
    if status is not None:
        kind = args[1] if len(args) > 1 else None
        return _answered(status, kind if kind in _TYPES else args[2] if len(args) > 2 else None) or _LOST
    inner = args[2] if len(args) > 2 else None
    return Through(inner if isinstance(inner, BaseException) else None, _by_words(exc) or _LOST)


def _by_words(exc: Any) -> Verdict | None:
    text = " ".join(str(arg)[:500] for arg in exc.args[:3]).lower()
    return _DENIED if "certificate" in text else None


def _connection(exc: Any) -> Answer:
    return _by_words(exc) or _transport(exc)


def _elastic_connection(exc: Any) -> Answer:
    errors = getattr(exc, "errors", None) or ()
    inner = next((error for error in errors if isinstance(error, BaseException)), None) or exc.__cause__
    return _by_words(exc) or Through(inner, _LOST)


def _bulk(exc: Any) -> Answer:
    """Each item has a status; one that is permanent makes the whole permanent."""
    verdicts = list(_items(getattr(exc, "errors", None) or (exc.args[1] if len(exc.args) > 1 else ())))
    if not verdicts:
        return _VALUE
    return next((verdict for verdict in verdicts if not verdict.retryable), verdicts[0])


def _items(errors: Any) -> Iterator[Verdict]:
    for item in list(errors)[:100]:
        for result in item.values() if isinstance(item, Mapping) else ():
            if isinstance(result, Mapping):
                yield _answered(result.get("status"), result) or _VALUE


def _meilisearch(exc: Any) -> Answer:
    code = getattr(exc, "code", None)
    found = by_status(getattr(exc, "status_code", None)) or _VALUE
    return found if code is None else Verdict(found.error_type, found.retryable, str(code), rule=found.rule)


def _by_its_status(exc: Any) -> Answer:
    return by_status(getattr(exc, "status_code", None) or getattr(exc, "status", None) or _first(exc)) or _LOST


def _first(exc: Any) -> Any:
    return exc.args[0] if exc.args else None


def _solr(exc: Any) -> Answer:
    text = str(_first(exc))[:500]
    lower = text.lower()
    if "failed to connect" in lower or "timed out" in lower or "connection" in lower:
        return _LOST
    at = text.find("HTTP ")
    return (by_status(text[at + 5 : at + 8]) if at >= 0 else None) or _VALUE


def _milvus(exc: Any) -> Answer:
    code = number(getattr(exc, "code", None))
    text = str(getattr(exc, "message", "") or _first(exc)).lower()
    if code in (1, 2, 3, 8, 106, 501, 502) or "connect" in text or "timeout" in text or "deadline" in text:
        return _LOST
    return _DENIED if "auth" in text or code == 1800 else _VALUE


_ELASTIC: dict[str, Verdict | Look] = {
    **each("elastic_transport", "ApiError", _api),
    **each("elastic_transport.*", "ConnectionError TransportError SniffingError", _elastic_connection),
    **each("elastic_transport.*", "ConnectionTimeout", _TIMED_OUT),
    **each("elastic_transport.*", "TlsError", _DENIED),
    **each("elastic_transport.*", "SerializationError", _UNREADABLE),
    **{
        name: answer
        for package in ("elasticsearch", "elasticsearch8", "elasticsearch7", "elasticsearch6", "opensearchpy")
        for name, answer in {
            **each(f"{package}.*", "TransportError", _transport),
            **each(f"{package}.*", "ConnectionError", _connection),
            **each(f"{package}.*", "ConnectionTimeout", _TIMED_OUT),
            **each(f"{package}.*", "SSLError", _DENIED),
            **each(f"{package}.*", "SerializationError", _UNREADABLE),
            **each(f"{package}.*", "BulkIndexError", _bulk),
            **each(f"{package}.*", "ScanError", transient(_N, rule="scan")),
            **each(f"{package}.*", "ImproperlyConfigured UnsupportedProductError", _BUG),
            **each(f"{package}.*", "IllegalOperation UnknownDslObject", _BUG),
            **each(f"{package}.*", "ValidationException", _VALUE),
        }.items()
    },
    "elasticsearch.ApiError": _api,
    "elasticsearch8.ApiError": _api,
    **each("elasticsearch_dsl.*", "ValidationException", _VALUE),
    **each("elasticsearch_dsl.*", "IllegalOperation UnknownDslObject", _BUG),
}

_OTHERS: dict[str, Verdict | Look] = {
    "meilisearch.errors.MeilisearchApiError": _meilisearch,
    "meilisearch.errors.MeilisearchCommunicationError": _LOST,
    "meilisearch.errors.MeilisearchTimeoutError": _TIMED_OUT,
    **each("typesense.exceptions", "ServerError ServiceUnavailable HTTPStatus0Error Timeout", _LOST),
    **each("typesense.exceptions", "RequestUnauthorized RequestForbidden", _DENIED),
    **each("typesense.exceptions", "ObjectNotFound ObjectAlreadyExists ObjectUnprocessable RequestMalformed", _VALUE),
    **each("typesense.exceptions", "InvalidParameter", _VALUE),
    **each("typesense.exceptions", "ConfigError MissingConfigurationError", _BUG),
    **each("pysolr", "SolrError", _solr),
    **each("qdrant_client.*", "UnexpectedResponse", _by_its_status),
    **each("qdrant_client.*", "ResponseHandlingException", lambda exc: Through(_inner(exc), _LOST)),
    **each("qdrant_client.*", "ResourceExhaustedResponse ResourceQuotaExceeded", transient(_N, rule="throttled")),
    **each("weaviate.*", "UnexpectedStatusCodeError UnexpectedStatusCodeException", _by_its_status),
    **each("weaviate.*", "WeaviateConnectionError WeaviateTimeoutError WeaviateGRPCUnavailableError", _LOST),
    **each("weaviate.*", "WeaviateStartUpError WeaviateRetryError WeaviateQueryError WeaviateBatchError", _LOST),
    **each("weaviate.*", "WeaviateClosedClientError WeaviateBatchStreamError", _LOST),
    **each("weaviate.*", "InsufficientPermissionsError AuthenticationFailedError MissingScopeError", _DENIED),
    **each("weaviate.*", "WeaviateInvalidInputError SchemaValidationError ObjectAlreadyExistsError", _VALUE),
    **each("weaviate.*", "WeaviateInsertInvalidPropertyError WeaviateInsertManyAllFailedError", _VALUE),
    **each("pymilvus.*", "MilvusException", _milvus),
    **each("pymilvus.*", "MilvusUnavailableException ConnectError ConnectionNotExistException", _LOST),
    **each("pymilvus.*", "ParamError DataNotMatchException ExceptionsMessage PrimaryKeyException", _VALUE),
    **each("pymilvus.*", "SchemaNotReadyException CollectionNotExistException IndexNotExistException", _VALUE),
    **each("pymilvus.*", "DescribeCollectionException", _milvus),
}


def _inner(exc: Any) -> BaseException | None:
    source = getattr(exc, "source", None) or exc.__cause__
    return source if isinstance(source, BaseException) else None


FAMILY = Family(name="search", classes={**_ELASTIC, **_OTHERS})
