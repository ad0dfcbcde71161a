"""Machine learning: memory of devices, models that do not fit, status names in texts."""

from __future__ import annotations

from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike


@pytest.mark.parametrize(
    ("text", "expected", "retryable"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB", ErrorType.MEMORY, True),
        ("DataLoader worker (pid 7) is killed by signal: Killed.", ErrorType.SYSTEM, True),
        ("CUDA error: device-side assert triggered", ErrorType.SYSTEM, False),
        ("Error(s) in loading state_dict for Net: size mismatch", ErrorType.SCHEMA, False),
        ("PytorchStreamReader failed reading zip archive", ErrorType.PARSING, False),
        ("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)", ErrorType.VALIDATION, False),
    ],
)
def test_torch_raises_plain_runtime_errors(text: str, expected: ErrorType, retryable: bool) -> None:
    """What happened stands only in the text."""
    info = classify(RuntimeError(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


@pytest.mark.parametrize(
    ("text", "expected", "retryable"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate", ErrorType.MEMORY, True),
        ("INVALID_ARGUMENT: shapes differ", ErrorType.VALIDATION, False),
        ("UNAVAILABLE: worker is gone", ErrorType.NETWORK, True),
        ("INTERNAL: no kernel", ErrorType.SYSTEM, False),
    ],
)
def test_jax_puts_the_status_first(text: str, expected: ErrorType, retryable: bool) -> None:
    """The names are gRPC's; resources of a device are memory, though, not a rate limit."""
    info = classify(lookalike("jaxlib.xla_extension.XlaRuntimeError", RuntimeError)(text))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


@pytest.mark.parametrize(
    ("name", "bases", "expected", "retryable"),
    [
        ("torch.OutOfMemoryError", (RuntimeError,), ErrorType.MEMORY, True),
        ("torch.cuda.OutOfMemoryError", (RuntimeError,), ErrorType.MEMORY, True),
        ("torch.distributed.DistNetworkError", (RuntimeError,), ErrorType.NETWORK, True),
        ("tensorflow.python.framework.errors_impl.ResourceExhaustedError", (), ErrorType.MEMORY, True),
        ("tensorflow.python.framework.errors_impl.InvalidArgumentError", (), ErrorType.VALIDATION, False),
        ("tensorflow.python.framework.errors_impl.DataLossError", (), ErrorType.PARSING, False),
        ("safetensors_rust.SafetensorError", (), ErrorType.PARSING, False),
    ],
)
def test_libraries_are_known_by_name(name: str, bases: Any, expected: ErrorType, retryable: bool) -> None:
    """Memory of a device may be free again when another job has finished."""
    info = classify(lookalike(name, *bases)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
