"""Understanding errors: `classify(exc)` answers with an `ErrorInfo`."""

from __future__ import annotations

from celery_recovery.errors.classifier import ErrorClassifier, classify
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType, Frame

__all__ = ("ErrorClassifier", "ErrorInfo", "ErrorSeverity", "ErrorType", "Frame", "classify")
