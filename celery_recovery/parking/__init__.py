"""Parking: tasks that are not due for long wait in Redis, and not in a worker.

    park ──► parked ──► claim ──► publish, confirmed ──► remove
                │         │
                │         └─ a claim ends with its lease: whoever comes next publishes the same message again
                └─ discard: the result becomes REVOKED, then it is removed

A parked task holds no memory and no prefetch slot of any worker, and no timeout of the broker applies to it. Every
worker looks for tasks that are due (`worker/release.py`); a claim gives each to one of them. A worker killed between
publishing and removing leaves a task that is published twice, under the same passage (life, step, copy): custody drops
the second one at its start. When Redis or the broker are away nothing is lost; what is due waits for them.

In RabbitMQ practice a "parking lot" is where messages stay for good. This one is temporary.
"""

from __future__ import annotations

from celery_recovery.parking.filter import ParkedFilter
from celery_recovery.parking.parked import ParkedTask
from celery_recovery.parking.parking import Parking, ParkingResult
from celery_recovery.parking.store import ParkedPage, ParkingStats

__all__ = ("ParkedFilter", "ParkedPage", "ParkedTask", "Parking", "ParkingResult", "ParkingStats")
