"""Machine learning: PyTorch, TensorFlow, JAX, ONNX Runtime, tokenizers, experiment trackers.

Out of memory on a device is a memory fault and may be gone when another job has finished; a model file that does not
fit the code is a schema fault. TensorFlow and JAX speak gRPC's status names.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of, text_of
from celery_recovery.errors.rules.naming import within
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY", "by_words")

_HIGH = ErrorSeverity.HIGH
_FULL = transient(ErrorType.MEMORY, severity=_HIGH)
_REFUSED = permanent(ErrorType.VALIDATION)
_MISMATCH = permanent(ErrorType.SCHEMA)
_UNREADABLE = permanent(ErrorType.PARSING)
_BAD_FILE = permanent(ErrorType.FILESYSTEM)
_LOST = transient(ErrorType.NETWORK)
_DEVICE = permanent(ErrorType.SYSTEM, severity=_HIGH)
_DIED = transient(ErrorType.SYSTEM, severity=_HIGH)
_DENIED = permanent(ErrorType.NETWORK, severity=_HIGH)

# PyTorch, CUDA and cuDNN raise plain RuntimeErrors; these are the words of their C++ sources.
_WORDS: tuple[tuple[str, Verdict], ...] = (
    ("out of memory", _FULL),
    ("CUBLAS_STATUS_ALLOC_FAILED", _FULL),
    ("can't allocate memory", _FULL),
    ("DataLoader worker", _DIED),
    ("NCCL", _LOST),
    ("CUDA error", _DEVICE),
    ("CUDNN_STATUS", _DEVICE),
    ("cuDNN error", _DEVICE),
    ("No CUDA GPUs are available", _DEVICE),
    ("Found no NVIDIA driver", _DEVICE),
    ("Error(s) in loading state_dict", _MISMATCH),
    ("PytorchStreamReader", _UNREADABLE),
    ("Invalid magic number; corrupt file", _UNREADABLE),
    ("shapes cannot be multiplied", _REFUSED),
    ("must match the size of tensor", _REFUSED),
    ("is invalid for input of size", _REFUSED),
    ("Expected all tensors to be on the same device", permanent(ErrorType.UNKNOWN)),
)
# jaxlib puts the gRPC status name in front of the text.
_STATUS: dict[str, Verdict] = {
    "RESOURCE_EXHAUSTED": _FULL,
    "INVALID_ARGUMENT": _REFUSED,
    "FAILED_PRECONDITION": _REFUSED,
    "OUT_OF_RANGE": _REFUSED,
    "NOT_FOUND": _BAD_FILE,
    "DATA_LOSS": _UNREADABLE,
    "UNAVAILABLE": _LOST,
    "DEADLINE_EXCEEDED": _LOST,
    "ABORTED": _DIED,
    "CANCELLED": _DIED,
    "INTERNAL": _DEVICE,
    "UNIMPLEMENTED": permanent(ErrorType.UNKNOWN),
    "PERMISSION_DENIED": _DENIED,
    "UNAUTHENTICATED": _DENIED,
}


def by_words(text: str) -> Verdict | None:
    """The verdict on the text of a runtime error of PyTorch or CUDA; None when it is not one of theirs."""
    return next((verdict for words, verdict in _WORDS if words in text), None)


def _torch(exc: Any) -> Verdict:
    return by_words(text_of(exc)) or _DEVICE


def _xla(exc: Any) -> Verdict:
    return _STATUS.get(text_of(exc).partition(":")[0].strip()) or by_words(text_of(exc)) or _DEVICE


def _mlflow(exc: Any) -> Answer:
    code = attr(exc, "get_http_status_code")
    return Through(cause_of(exc), by_status(code()) or _REFUSED)


_RULES: dict[str, Verdict | Look] = {
    **within("torch", "OutOfMemoryError", _FULL),
    **within("torch", "AcceleratorError JITException Error", _torch),
    **within("torch", "DistError DistBackendError DistNetworkError DistStoreError", _LOST),
    **within("torch", "ProcessExitedException", _DIED),
    **within("torch", "_LinAlgError LinAlgError GuardOnDataDependentSymNode", _REFUSED),
    **within("torch", "UnsupportedOperatorError OnnxExporterError CheckerError", permanent(ErrorType.UNKNOWN)),
    **within("cupy cupy_backends", "OutOfMemoryError", _FULL),
    **within("cupy_backends pycuda numba", "CUDARuntimeError CUDADriverError CudaAPIError RuntimeError", _torch),
    **within("safetensors safetensors_rust", "SafetensorError", _UNREADABLE),
    **within("tensorflow", "ResourceExhaustedError", _FULL),
    **within("tensorflow", "UnavailableError DeadlineExceededError", _LOST),
    **within("tensorflow", "AbortedError CancelledError", _DIED),
    **within("tensorflow", "InvalidArgumentError OutOfRangeError FailedPreconditionError AlreadyExistsError", _REFUSED),
    **within("tensorflow", "NotFoundError", _BAD_FILE),
    **within("tensorflow", "DataLossError", _UNREADABLE),
    **within("tensorflow", "PermissionDeniedError UnauthenticatedError", _DENIED),
    **within("tensorflow", "InternalError UnknownError OpError", _DEVICE),
    **within("tensorflow", "UnimplementedError", permanent(ErrorType.UNKNOWN)),
    **within("jaxlib jax", "XlaRuntimeError JaxRuntimeError", _xla),
    **within("onnxruntime", "Fail RuntimeException EPFail EngineError", _torch),
    **within("onnxruntime", "InvalidArgument NotImplemented", _REFUSED),
    **within("onnxruntime", "NoSuchFile NoModel NotFound", _BAD_FILE),
    **within("onnxruntime onnx", "InvalidProtobuf InvalidGraph ValidationError InferenceError", _UNREADABLE),
    **within("optuna", "TrialPruned", permanent(ErrorType.BUSINESS_LOGIC)),
    **within("optuna", "StorageInternalError UpdateFinishedTrialError", _DIED),
    **within("optuna", "OptunaError CLIUsageError DuplicatedStudyError", _REFUSED),
    **within("mlflow", "MlflowException", _mlflow),
    **within("wandb", "CommError", _LOST),
    **within("wandb", "AuthenticationError UsageError", _DENIED),
    **within("datasets", "DatasetGenerationError DataFilesNotFoundError UnexpectedSplitsError", _UNREADABLE),
    **within("datasets", "DatasetNotFoundError", _BAD_FILE),
    **within("datasets", "ChecksumVerificationError NonMatchingChecksumError", _LOST),
    **within("gensim sentencepiece tokenizers", "EncodingError", _UNREADABLE),
}

FAMILY = Family(name="learning", classes=_RULES)
