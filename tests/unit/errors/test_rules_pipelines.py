"""Engines that run work elsewhere: lost workers, and the user's exception inside."""

from __future__ import annotations

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike


@pytest.mark.parametrize(
    ("path", "attribute"),
    [
        ("ray.exceptions.RayTaskError", "cause"),
        ("dask.multiprocessing.RemoteException", "exception"),
        ("dagster._core.errors.DagsterExecutionStepExecutionError", "user_exception"),
        ("luigi.rpc.RPCError", "sub_exception"),
    ],
)
def test_the_users_exception_inside_is_what_counts(path: str, attribute: str) -> None:
    """The engine only carries it."""
    cls = lookalike(path)
    lost, wrong = cls("remote"), cls("remote")
    setattr(lost, attribute, ConnectionResetError(104, "reset"))
    setattr(wrong, attribute, ValueError("no"))
    assert (classify(lost).error_type, classify(lost).is_retryable) == (ErrorType.NETWORK, True)
    assert (classify(wrong).error_type, classify(wrong).is_retryable) == (ErrorType.VALIDATION, False)


@pytest.mark.parametrize(
    ("text", "expected", "retryable"),
    [
        (
            "An error occurred while calling o1.x.\n: java.lang.OutOfMemoryError: Java heap space",
            ErrorType.MEMORY,
            True,
        ),
        (": java.net.ConnectException: Connection refused", ErrorType.NETWORK, True),
        (": org.apache.spark.sql.AnalysisException: cannot resolve 'z'", ErrorType.SCHEMA, False),
        (": java.io.FileNotFoundException: x", ErrorType.FILESYSTEM, False),
    ],
)
def test_java_exceptions_stand_in_the_text(text: str, expected: ErrorType, retryable: bool) -> None:
    """py4j gives the Java class by name."""
    info = classify(lookalike("py4j.protocol.Py4JJavaError")(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_airflow_status_is_no_http_answer() -> None:
    """`AirflowException.status_code` is 500 for every instance; the cause says what happened."""
    cls = lookalike("airflow.sdk.exceptions.AirflowException", status_code=500)
    wrapped = cls("failed")
    wrapped.__cause__ = ValueError("no")
    assert classify(wrapped).error_type is ErrorType.VALIDATION
    assert classify(cls("failed")).error_type is ErrorType.UNKNOWN


@pytest.mark.parametrize(
    ("name", "expected", "retryable"),
    [
        ("ray.exceptions.WorkerCrashedError", ErrorType.SYSTEM, True),
        ("ray.exceptions.OutOfMemoryError", ErrorType.MEMORY, True),
        ("ray.exceptions.RuntimeEnvSetupError", ErrorType.SYSTEM, False),
        ("distributed.scheduler.KilledWorker", ErrorType.SYSTEM, False),
        ("distributed.comm.core.CommClosedError", ErrorType.NETWORK, True),
        ("pyspark.errors.exceptions.captured.AnalysisException", ErrorType.SCHEMA, False),
        ("airflow.exceptions.AirflowFailException", ErrorType.BUSINESS_LOGIC, False),
        ("airflow.exceptions.AirflowTaskTimeout", ErrorType.SYSTEM, True),
        ("prefect.exceptions.CrashedRun", ErrorType.SYSTEM, True),
        ("luigi.parameter.MissingParameterException", ErrorType.VALIDATION, False),
    ],
)
def test_engines_are_known_by_name(name: str, expected: ErrorType, retryable: bool) -> None:
    """A lost worker can be had again; a task that killed several is the cause of it."""
    bases = (lookalike("luigi.parameter.ParameterException"),) if name.startswith("luigi") else ()
    info = classify(lookalike(name, *bases)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
