"""The checks, one file for each thing that can be configured. Importing this fills the table `CHECKS`."""

from __future__ import annotations

from importlib import import_module

from celery_recovery.doctor.finding import CHECKS

__all__ = ("CHECKS", "FAMILIES")

#: Modules of this package that hold checks, in the order of `--list`.
FAMILIES = ("tasks", "publishing", "queues", "broker", "redis_server", "store", "results", "workers")

for _family in FAMILIES:
    import_module(f"{__name__}.{_family}")
