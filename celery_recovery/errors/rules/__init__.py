"""The families of rules, in order: of two that claim the same class, or of two protocols that answer, the first counts."""

from __future__ import annotations

from celery_recovery.errors.rules import os, python
from celery_recovery.errors.rules.rule import Family

__all__ = ("FAMILIES",)

FAMILIES: tuple[Family, ...] = (
    python.FAMILY,
    os.FAMILY,
)
