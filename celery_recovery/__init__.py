"""A Celery extension: no task vanishes, what can recover recovers by itself, and what cannot waits to be put back.

    from celery_recovery import RecoverableTask

    @app.task(base=RecoverableTask)
    def charge(order_id): ...

The names below are the public interface; everything is imported when first asked for, so that a process that only loads
the command-line plug-in pays nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_recovery.backoff import BackoffStrategy, Jitter
    from celery_recovery.batch.policy import BatchPolicy
    from celery_recovery.circuit.breaker import CircuitBreaker
    from celery_recovery.circuit.budget import RetryBudget
    from celery_recovery.circuit.policy import CircuitPolicy
    from celery_recovery.circuit.state import CircuitState
    from celery_recovery.dead_letters.filter import Filter
    from celery_recovery.dead_letters.letter import Letter
    from celery_recovery.dead_letters.queue import DeadLetterQueue
    from celery_recovery.dead_letters.state import LetterState
    from celery_recovery.errors import ErrorClassifier, ErrorInfo, ErrorSeverity, ErrorType, classify
    from celery_recovery.exceptions import (
        BatchFailed,
        BatchStopped,
        CheckpointFenced,
        CheckpointTooLarge,
        CircuitOpen,
        ConfigurationError,
        Discard,
        DiscardedLetter,
        LetterNotFound,
        NotAnException,
        PublishFailed,
        Quarantine,
        RecoveryError,
        RetryIn,
        Snooze,
        SourceChanged,
        StoreUnavailable,
    )
    from celery_recovery.monitoring.stats import SuccessRateMonitor
    from celery_recovery.policy import RecoveryPolicy, RecoveryStrategy, RetryPolicy
    from celery_recovery.recovery import Recovery
    from celery_recovery.task import RecoverableTask

__version__ = "0.1.0"

_HOME = {
    "BackoffStrategy": "backoff",
    "BatchFailed": "exceptions",
    "BatchPolicy": "batch.policy",
    "BatchStopped": "exceptions",
    "CheckpointFenced": "exceptions",
    "CheckpointTooLarge": "exceptions",
    "CircuitBreaker": "circuit.breaker",
    "CircuitOpen": "exceptions",
    "CircuitPolicy": "circuit.policy",
    "CircuitState": "circuit.state",
    "ConfigurationError": "exceptions",
    "DeadLetterQueue": "dead_letters.queue",
    "Discard": "exceptions",
    "DiscardedLetter": "exceptions",
    "ErrorClassifier": "errors",
    "ErrorInfo": "errors",
    "ErrorSeverity": "errors",
    "ErrorType": "errors",
    "Filter": "dead_letters.filter",
    "Jitter": "backoff",
    "Letter": "dead_letters.letter",
    "LetterNotFound": "exceptions",
    "LetterState": "dead_letters.state",
    "NotAnException": "exceptions",
    "PublishFailed": "exceptions",
    "Quarantine": "exceptions",
    "RecoverableTask": "task",
    "Recovery": "recovery",
    "RecoveryError": "exceptions",
    "RecoveryPolicy": "policy",
    "RecoveryStrategy": "policy",
    "RetryBudget": "circuit.budget",
    "RetryIn": "exceptions",
    "RetryPolicy": "policy",
    "Snooze": "exceptions",
    "SourceChanged": "exceptions",
    "StoreUnavailable": "exceptions",
    "SuccessRateMonitor": "monitoring.stats",
    "classify": "errors",
}

__all__ = (
    "BackoffStrategy",
    "BatchFailed",
    "BatchPolicy",
    "BatchStopped",
    "CheckpointFenced",
    "CheckpointTooLarge",
    "CircuitBreaker",
    "CircuitOpen",
    "CircuitPolicy",
    "CircuitState",
    "ConfigurationError",
    "DeadLetterQueue",
    "Discard",
    "DiscardedLetter",
    "ErrorClassifier",
    "ErrorInfo",
    "ErrorSeverity",
    "ErrorType",
    "Filter",
    "Jitter",
    "Letter",
    "LetterNotFound",
    "LetterState",
    "NotAnException",
    "PublishFailed",
    "Quarantine",
    "RecoverableTask",
    "Recovery",
    "RecoveryError",
    "RecoveryPolicy",
    "RecoveryStrategy",
    "RetryBudget",
    "RetryIn",
    "RetryPolicy",
    "Snooze",
    "SourceChanged",
    "StoreUnavailable",
    "SuccessRateMonitor",
    "classify",
)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
