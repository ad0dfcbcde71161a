"""Faults that no library speaks for: bodies, headers, holders, names; each rule with a fault it must not touch."""

from __future__ import annotations

import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery import classify
from celery_recovery.errors.model import ErrorType
from tests.unit.errors.lookalike import lookalike


def make(path: str, *bases: type[BaseException], **attrs: Any) -> BaseException:
    """An instance of a look-alike with these attributes of its own."""
    exc = lookalike(path, *bases)("boom")
    for key, value in attrs.items():
        setattr(exc, key, value)
    return exc


def fault(path: str = "acme.AcmeError", **attrs: Any) -> BaseException:
    """The same of a class that nobody knows."""
    return make(path, **attrs)


@pytest.mark.parametrize(
    "attrs",
    [
        {"httpStatus": 502},
        {"resp": SimpleNamespace(status=503)},
        {"response": {"statusCode": 429}},
        {"response": {"ResponseMetadata": {"HTTPStatusCode": 503}}},
        {"response": {"error": {"code": 503}}},
        {"body": {"error": {"code": "rate_limit_exceeded"}}},
        {"errors": [{"code": "SERVICE_UNAVAILABLE"}]},
    ],
)
def test_a_status_or_code_is_found_wherever_sdks_put_it(attrs: dict[str, Any]) -> None:
    """camelCase, `resp`, dicts, and one level of `error` in a body."""
    info = classify(fault(**attrs))
    assert (info.error_type, info.is_retryable) == (ErrorType.NETWORK, True)


def test_a_body_of_another_kind_says_nothing() -> None:
    """Free text and numbers in a body are no codes."""
    assert classify(fault(body={"error": {"code": 17, "message": "rate_limit"}})).error_type is ErrorType.UNKNOWN


@pytest.mark.parametrize(("status", "code"), [(400, "Throttling"), (403, "rateLimitExceeded")])
def test_a_throttling_code_is_stronger_than_a_permanent_status(status: int, code: str) -> None:
    """Several clouds throttle with 400 and 403."""
    assert classify(fault(status_code=status, code=code)).is_retryable
    assert not classify(fault(status_code=status, code="InvalidRequest")).is_retryable


def test_403_with_the_words_of_a_rate_limit_is_one() -> None:
    """Without such words it is a matter of permissions."""
    limited = lookalike("acme.AcmeError", status_code=403)
    assert classify(limited("API rate limit exceeded")).is_retryable
    assert not classify(limited("Forbidden")).is_retryable


def test_403_is_a_rate_limit_when_its_headers_say_that_no_call_is_left() -> None:
    """The reset that comes with every answer counts only then."""
    reset = str(int(time.time()) + 30)
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    info = classify(fault(status_code=403, headers=spent))
    assert info.is_retryable
    assert info.retry_after == pytest.approx(30, abs=2)
    assert not classify(fault(status_code=403, headers={**spent, "X-RateLimit-Remaining": "4999"})).is_retryable


def test_a_reset_is_no_wait_while_calls_are_left() -> None:
    """A 502 of an API that counts calls is not over when the count starts anew."""
    headers = {"X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": str(int(time.time()) + 3000)}
    info = classify(fault(status_code=502, headers=headers))
    assert info.is_retryable
    assert info.retry_after is None


@pytest.mark.parametrize("header", ["limit=10, remaining=0, reset=7", '"default";r=0;t=7'])
def test_the_combined_ratelimit_header_is_read(header: str) -> None:
    """Both forms of the drafts."""
    assert classify(fault(status_code=429, headers={"RateLimit": header})).retry_after == 7


def test_429_for_want_of_money_is_permanent() -> None:
    """Nothing to wait for; a plain 429 is throttling."""
    spent = classify(fault(status_code=429, code="insufficient_quota"))
    assert (spent.error_type, spent.is_retryable) == (ErrorType.BUSINESS_LOGIC, False)
    assert classify(fault(status_code=429, code="rate_limited")).is_retryable


def test_waits_in_milliseconds_and_moments_to_come_back() -> None:
    """`retry_after_ms` and `reset_at` (Unix time)."""
    assert classify(fault(retry_after_ms=7000)).retry_after == 7
    assert classify(fault(reset_at=time.time() + 30)).retry_after == pytest.approx(30, abs=2)


@pytest.mark.parametrize("holder", ["underlying", "source", "root_cause"])
def test_holders_of_an_inner_exception(holder: str) -> None:
    """What an opaque exception carries counts as its cause."""
    info = classify(fault(**{holder: ConnectionRefusedError(111, "refused")}))
    assert (info.error_type, info.is_retryable) == (ErrorType.NETWORK, True)


@pytest.mark.parametrize("kind", [list, tuple, lambda found: dict(enumerate(found))])
def test_many_inner_exceptions_count_like_a_group(kind: Any) -> None:
    """Transient only if every one is."""
    refused = ConnectionRefusedError(111, "refused")
    assert classify(fault("acme.AllHostsTried", errors=kind([refused, refused]))).error_type is ErrorType.NETWORK
    assert not classify(fault("acme.AllHostsTried", errors=kind([refused, ValueError("bad")]))).is_retryable


def test_a_cause_knows_more_than_a_name_that_tells_only_where() -> None:
    """`GatewayError from ValueError` is about the value; `GatewayTimeout from ValueError` is a timeout."""
    for name, retryable in (
        ("shop.GatewayError", False),
        ("shop.GatewayTimeout", True),
        ("shop.RetriesExhausted", False),
    ):
        exc = fault(name)
        exc.__cause__ = ValueError("bad amount")
        assert classify(exc).is_retryable is retryable, name
    assert classify(fault("shop.GatewayError")).is_retryable


def test_invalid_network_data_is_no_network_fault() -> None:
    """What is invalid comes first in the name; a bad gateway stays one."""
    assert classify(fault("net.InvalidNetworkIdError")).error_type is ErrorType.VALIDATION
    assert classify(fault("net.BadGatewayError")).is_retryable


def test_a_number_in_an_odbc_drivers_own_words_is_not_the_servers() -> None:
    """08S01 with the operating system's number in brackets stays a lost connection."""
    text = "[08S01] [Microsoft][ODBC Driver 18 for SQL Server]TCP Provider: Error code 0x68 (104) (SQLExecDirectW)"
    info = classify(lookalike("pyodbc.OperationalError")("08S01", text))
    assert (info.error_type, info.is_retryable) == (ErrorType.NETWORK, True)
    victim = "[40001] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Transaction was deadlocked (1205)"
    assert classify(lookalike("pyodbc.Error")("40001", victim)).is_retryable


def test_a_full_local_queue_empties() -> None:
    """The BufferError of librdkafka; any other is a bug."""
    assert classify(BufferError("Local: Queue full")).is_retryable
    assert not classify(BufferError("Existing exports of data: object cannot be re-sized")).is_retryable


@pytest.mark.parametrize(
    "attrs",
    [
        {"code": "HTTP_503"},
        {"status": "UNAVAILABLE"},
        {"status": "503 Service Unavailable"},
        {"status": SimpleNamespace(code=503)},
        {"error": SimpleNamespace(code="RATE_LIMITED")},
        {"body": '{"error": {"code": "rate_limit_exceeded"}}'},
        {"body": b'{"code": "rate_limit_exceeded"}'},
    ],
)
def test_a_status_or_code_is_read_from_words_objects_and_json(attrs: dict[str, Any]) -> None:
    """The same fault, written in other ways."""
    info = classify(fault(**attrs))
    assert (info.error_type, info.is_retryable) == (ErrorType.NETWORK, True)


@pytest.mark.parametrize("body", ["{", "not json", "[1]", "{" * 5000, '{"error": 3}'])
def test_unreadable_bodies_say_nothing(body: str) -> None:
    """A body that is no JSON object, or a long one, is no answer and no error."""
    assert classify(fault(body=body)).error_type is ErrorType.UNKNOWN


def test_a_status_in_the_arguments() -> None:
    """With its reason phrase, in a class called after HTTP, or in a dict; another number is no status."""
    assert not classify(lookalike("acme.AcmeError")(404, "Not Found")).is_retryable
    assert not classify(lookalike("acme.AcmeHttpError")(404, "nothing here")).is_retryable
    assert not classify(lookalike("acme.AcmeError")({"status": 404})).is_retryable
    assert classify(lookalike("acme.AcmeError")(404, "steps done")).is_retryable


def test_pairs_and_finished_attempts_are_looked_into() -> None:
    """`errors=[(host, exception)]` and a `last_attempt` that is done; one that is not done is not waited for."""
    refused = ConnectionRefusedError(111, "refused")
    done: Future[None] = Future()
    done.set_exception(refused)
    assert classify(fault("acme.AllHostsTried", errors=[("a", refused)])).error_type is ErrorType.NETWORK
    assert classify(fault(last_attempt=done)).error_type is ErrorType.NETWORK
    assert classify(fault(last_attempt=Future())).error_type is ErrorType.UNKNOWN


def test_tasks_that_ask_to_be_run_again_say_when() -> None:
    """Dramatiq's delay is in milliseconds, huey's in seconds; without one there is no wait."""
    assert classify(make("dramatiq.errors.Retry", delay=7000)).retry_after == 7
    assert classify(make("huey.exceptions.RetryTask", delay=7)).retry_after == 7
    assert classify(make("huey.exceptions.RetryTask", delay=None)).retry_after is None


@pytest.mark.parametrize(("code", "retryable"), [("conflict", True), ("locked", True), ("invalid_input", False)])
def test_hetzner_asks_to_retry_conflicts(code: str, retryable: bool) -> None:
    """Its conflict is a resource that changed during the request, no domain rule."""
    assert classify(make("hcloud._exceptions.APIException", code=code)).is_retryable is retryable


def test_a_subclass_of_requests_httperror_without_an_answer_means_what_it_is_called() -> None:
    """OpenStack's SDK raises such; a plain one says nothing and passes."""
    error = lookalike("requests.exceptions.HTTPError", OSError)
    assert not classify(lookalike("openstack.exceptions.NotFoundException", error)("No Server found")).is_retryable
    assert not classify(make("openstack.exceptions.SdkError", error, http_status=409)).is_retryable
    assert classify(error("boom")).is_retryable


def test_a_sqlstate_in_the_diagnostics() -> None:
    """As libpq's wrappers offer it."""
    assert classify(fault(diag=SimpleNamespace(sqlstate="40P01"))).is_retryable
    assert not classify(fault(diag=SimpleNamespace(sqlstate="23505"))).is_retryable


@pytest.mark.parametrize(
    ("text", "error_type"),
    [
        ("Der Dienst meldet: Disk is FULL", ErrorType.FILESYSTEM),
        ("worker said OOM and left", ErrorType.MEMORY),
        ("the table locked by another session: database locked", ErrorType.SYSTEM),
        ("it can't connect to the broker", ErrorType.NETWORK),
        ("request timeD out", ErrorType.NETWORK),
        ("the room is warm", ErrorType.UNKNOWN),
    ],
)
def test_words_are_found_anywhere_in_a_long_text_in_any_case(text: str, error_type: ErrorType) -> None:
    """Also beyond other words, for patterns that begin with letters and for those that only end with them."""
    opaque = lookalike("acme.AcmeError")
    assert classify(opaque("so it goes " * 20 + text)).error_type is error_type


def test_a_reverted_contract_is_no_schema() -> None:
    """Web3: the contract said no."""
    info = classify(lookalike("web3.exceptions.ContractLogicError")("execution reverted"))
    assert (info.error_type, info.is_retryable) == (ErrorType.BUSINESS_LOGIC, False)
