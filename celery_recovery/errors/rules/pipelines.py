"""Engines that run work elsewhere: Dask, Ray, joblib, Spark, Airflow, Prefect, Luigi, dbt.

A worker, node or object that was lost can be had again; memory that ran out there is a memory fault; where the engine
only carries the exception of the user's function, that one is judged.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of, text_of
from celery_recovery.errors.rules.naming import within
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient

__all__ = ("FAMILY",)

_HIGH = ErrorSeverity.HIGH
_DIED = transient(ErrorType.SYSTEM, severity=_HIGH)
_BUSY = transient(ErrorType.SYSTEM)
_FULL = transient(ErrorType.MEMORY, severity=_HIGH)
_LOST = transient(ErrorType.NETWORK)
_REFUSED = permanent(ErrorType.VALIDATION)
_MISMATCH = permanent(ErrorType.SCHEMA)
_UNREADABLE = permanent(ErrorType.PARSING)
_SETUP = permanent(ErrorType.SYSTEM, severity=_HIGH)
_BAD_FILE = permanent(ErrorType.FILESYSTEM)
_STOPPED = permanent(ErrorType.BUSINESS_LOGIC)
_BUG = permanent(ErrorType.UNKNOWN)

# Java class names as they stand in the text of a Py4JJavaError or in a Spark Connect error.
_JAVA: tuple[tuple[str, Verdict], ...] = (
    ("OutOfMemoryError", _FULL),
    ("GC overhead limit", _FULL),
    ("ExecutorLostFailure", _DIED),
    ("FetchFailed", _DIED),
    ("ConnectException", _LOST),
    ("SocketTimeoutException", _LOST),
    ("SocketException", _LOST),
    ("UnknownHostException", _LOST),
    ("TimeoutException", _LOST),
    ("AnalysisException", _MISMATCH),
    ("NoSuchTableException", _MISMATCH),
    ("ParseException", _UNREADABLE),
    ("FileNotFoundException", _BAD_FILE),
    ("Path does not exist", _BAD_FILE),
    ("FileAlreadyExistsException", _BAD_FILE),
    ("AccessControlException", _BAD_FILE),
    ("NumberFormatException", _UNREADABLE),
    ("IllegalArgumentException", _REFUSED),
    ("NullPointerException", _BUG),
)


def _java(exc: Any) -> Verdict:
    text = text_of(exc)
    return next((verdict for name, verdict in _JAVA if name in text), _BUSY)


def _inside(*names: str, otherwise: Verdict = _BUG) -> Look:
    """The exception kept in one of these attributes, else the explicit cause."""

    def look(exc: Any) -> Answer:
        for name in names:
            inner = attr(exc, name)
            if isinstance(inner, BaseException):
                return Through(inner, otherwise)
        return Through(cause_of(exc), otherwise)

    return look


def _killed(exc: Any) -> Verdict:
    """Dask gives up when workers died several times under one task: it is the task that kills them."""
    return permanent(ErrorType.MEMORY if "memory" in text_of(exc) else ErrorType.SYSTEM, severity=_HIGH)


_RULES: dict[str, Verdict | Look] = {
    # Dask and joblib
    "distributed.*.KilledWorker": _killed,
    **within("distributed", "CommClosedError RPCClosed WorkerStartTimeoutError", _LOST),
    **within("distributed", "NoValidWorkerError NoWorkerError ShuffleClosedError DataUnavailable", _BUSY),
    **within("distributed", "P2PConsistencyError FutureCancelledError FuturesCancelledError", _BUSY),
    **within("distributed", "P2POutOfDiskError", transient(ErrorType.FILESYSTEM, severity=ErrorSeverity.CRITICAL)),
    **within("distributed", "MaxSpillExceeded", _FULL),
    **within("distributed", "ClosedClientError InvalidTaskState InvalidTransition", _BUG),
    **within("dask", "TokenizationError AttributeNotImplementedError", _BUG),
    **within("dask", "RemoteException", _inside("exception")),
    **within("loky", "TerminatedWorkerError BrokenProcessPool", _DIED),
    **within("joblib loky", "ShutdownExecutorError", _BUSY),
    # Ray
    **within("ray", "RayTaskError UserCodeException", _inside("cause")),
    **within("ray", "RayError RaySystemError RpcError RayChannelError", _BUSY),
    **within("ray", "WorkerCrashedError NodeDiedError LocalRayletDiedError ObjectLostError", _DIED),
    **within("ray", "RayActorError ActorDiedError ActorUnavailableError", _DIED),
    **within("ray", "TaskCancelledError TaskPlacementGroupRemoved ActorPlacementGroupRemoved", _BUSY),
    **within("ray", "GetTimeoutError ObjectFetchTimedOutError RayChannelTimeoutError", _LOST),
    **within("ray", "OutOfMemoryError ObjectStoreFullError NixlOutOfMemoryError", _FULL),
    **within("ray", "OutOfDiskError", transient(ErrorType.FILESYSTEM, severity=ErrorSeverity.CRITICAL)),
    **within("ray", "RuntimeEnvSetupError TaskUnschedulableError ActorUnschedulableError", _SETUP),
    **within("ray", "AuthenticationError", _SETUP),
    **within("ray", "CrossLanguageError UnserializableException ActorHandleNotFoundError", _REFUSED),
    **within("ray", "ActorAlreadyExistsError OufOfBandObjectRefSerializationException", _REFUSED),
    **within("ray", "ObjectFreedError ReferenceCountingAssertionError AsyncioActorExit", _BUG),
    # Spark
    **within("pyspark", "AnalysisException SparkNoSuchElementException UnknownException", _MISMATCH),
    **within("pyspark", "ParseException NumberFormatException DateTimeException", _UNREADABLE),
    **within("pyspark", "IllegalArgumentException ArithmeticException PySparkValueError", _REFUSED),
    **within("pyspark", "ArrayIndexOutOfBoundsException SparkUpgradeException PySparkAssertionError", _REFUSED),
    **within("pyspark", "PySparkTypeError PySparkAttributeError PySparkNotImplementedError", _BUG),
    **within("pyspark", "PythonException PySparkException SparkRuntimeException QueryExecutionException", _java),
    **within("pyspark", "StreamingQueryException SparkException SparkConnectGrpcException", _java),
    **within("pyspark", "QueryContextException UnsupportedOperationException", _BUG),
    **within("pyspark", "RetriesExceeded", _LOST),
    **within("py4j", "Py4JJavaError", _java),
    **within("py4j", "Py4JNetworkError", _LOST),
    **within("py4j", "Py4JError Py4JAuthenticationError", _BUSY),
    # Airflow
    # Its class attribute `status_code` (500) is for the API server and says nothing about the task.
    **within("airflow", "AirflowException AirflowRuntimeError", _inside(otherwise=transient(ErrorType.UNKNOWN))),
    **within("airflow", "AirflowFailException AirflowSkipException DagRunTriggerException TaskDeferred", _STOPPED),
    **within("airflow", "AirflowTaskTimeout AirflowSensorTimeout TaskDeferralTimeout", _BUSY),
    **within("airflow", "AirflowRescheduleException AirflowTaskTerminated DeadlockImminentError", _BUSY),
    **within("airflow", "AirflowNotFoundException DagNotFound DagRunNotFound PoolNotFound XComNotFound", _MISMATCH),
    **within("airflow", "TaskNotFound NodeNotFound DagCodeNotFound TaskInstanceNotFound", _MISMATCH),
    **within(
        "airflow", "AirflowBadRequest ParamValidationError AirflowTimetableInvalid DuplicateTaskIdFound", _REFUSED
    ),
    **within("airflow", "AirflowDagCycleException AirflowDagDuplicatedIdException DagRunAlreadyExists", _REFUSED),
    **within("airflow", "AirflowClusterPolicyViolation", _STOPPED),
    **within("airflow", "AirflowConfigException AirflowPluginException UnknownExecutorException", _SETUP),
    **within("airflow", "AirflowSecretsBackendAccessDenied AirflowOptionalProviderFeatureException", _SETUP),
    **within("airflow", "SerializationError DeserializationError AirflowFileParseException", _UNREADABLE),
    **within("airflow", "PodReconciliationError", _BUSY),
    # Prefect
    **within("prefect", "FlowPauseTimeout FlowRunWaitTimeout FlowRunWatchError UnfinishedRun CrashedRun", _BUSY),
    **within("prefect", "InfrastructureError InfrastructureNotAvailable TerminationSignal ExternalSignal", _BUSY),
    **within("prefect", "ObjectNotFound InfrastructureNotFound MissingFlowError UnspecifiedFlowError", _MISMATCH),
    **within("prefect", "ParameterTypeError ParameterBindError SignatureMismatchError InvalidNameError", _REFUSED),
    **within("prefect", "MappingLengthMismatch MappingMissingIterable ObjectAlreadyExists EventTooLarge", _REFUSED),
    **within("prefect", "Abort CancelledRun PausedRun UpstreamTaskError", _STOPPED),
    **within("prefect", "ConfigurationError MissingProfileError ProfileSettingsValidationError", _SETUP),
    **within("prefect", "PrefectException MissingContextError MissingResult HashError", _BUG),
    **within("prefect", "ScriptError", _inside("user_exc")),
    **within("prefect", "FailedRun", _inside()),
    # Luigi and dbt
    **within("luigi", "ParameterException TaskClassException", _REFUSED),
    **within("luigi", "FileSystemException", _BAD_FILE),
    **within("luigi", "RPCError", _inside("sub_exception", otherwise=_LOST)),
    **within("luigi", "TaskException HDFSCliError HdfsAtomicWriteError", _BUSY),
    **within("luigi", "ExternalProgramRunError PigJobError BatchJobException BigQueryExecutionError", _BUSY),
    **within("dbt dbt_common", "CompilationError ParsingError YamlLoadError DbtValidationError", _UNREADABLE),
    **within("dbt dbt_common dbt_adapters", "FailedToConnectError ConnectionError", _LOST),
    **within("dbt dbt_common", "DbtConfigError DbtProfileError DbtProjectError", _SETUP),
    **within("dbt dbt_common", "ContractError SchemaConfigError MissingColumnError", _MISMATCH),
    # others
    **within("dagster", "DagsterExecutionStepExecutionError DagsterUserCodeExecutionError", _inside("user_exception")),
    **within(
        "dagster", "DagsterInvariantViolationError DagsterInvalidConfigError DagsterTypeCheckDidNotPass", _REFUSED
    ),
    **within("papermill nbclient", "PapermillExecutionError CellExecutionError", _BUG),
    **within("papermill nbclient", "DeadKernelError CellTimeoutError", _DIED),
}

FAMILY = Family(name="pipelines", classes=_RULES)
