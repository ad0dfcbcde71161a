"""Understanding errors: `classify(exc)` answers with an `ErrorInfo`.

The rules know thousands of exception classes; they are read when the first exception is judged, not at import time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType, Frame

if TYPE_CHECKING:
    from celery_recovery.errors.classifier import ErrorClassifier, classify

__all__ = ("ErrorClassifier", "ErrorInfo", "ErrorSeverity", "ErrorType", "Frame", "classify")


def __getattr__(name: str) -> Any:
    if name in ("ErrorClassifier", "classify"):
        value = globals()[name] = getattr(import_module(f"{__name__}.classifier"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
