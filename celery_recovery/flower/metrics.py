"""Our figures on Flower's `/metrics`.

Flower asks for them in its own loop, and answers anybody. So they are read in a thread, and there is nothing in them
that comes from a message.
"""

from __future__ import annotations

import logging

from prometheus_client import REGISTRY

from celery_recovery.monitoring.fleet import FleetReader
from celery_recovery.monitoring.prometheus import Background, RecoveryCollector

__all__ = ("Exported",)

logger = logging.getLogger("celery_recovery")


class Exported:
    """In the registry of the process, until `end`."""

    def __init__(self, reader: FleetReader) -> None:
        self._source = Background(reader.read)
        self._collector: RecoveryCollector | None = RecoveryCollector(self._source)
        try:
            REGISTRY.register(self._collector)
        except ValueError:  # they are there already, by the user's own hand
            logger.info("the figures are in this registry already", extra={"action": "flower_without_metrics"})
            self._collector = None
            return
        self._source.start()

    def end(self) -> None:
        """Read no more, and take them out. Safe to repeat."""
        self._source.stop()
        if self._collector is not None:
            REGISTRY.unregister(self._collector)
            self._collector = None
