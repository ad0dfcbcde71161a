"""The doctor: what in this configuration can still lose or duplicate a task.

`Doctor(Recovery.of(app)).examine()` gathers plain `Facts` about the app, its broker, its Redis servers and its workers,
puts every check of the table `CHECKS` to them, and returns `Finding`s, the worst first. Nothing is changed anywhere.
"""

from __future__ import annotations

from celery_recovery.doctor.checks import CHECKS
from celery_recovery.doctor.examination import Doctor, diagnose
from celery_recovery.doctor.facts import Facts
from celery_recovery.doctor.finding import Check, Finding, Severity

__all__ = ("CHECKS", "Check", "Doctor", "Facts", "Finding", "Severity", "diagnose")
