"""Real services in private processes: loopback only, own directory, gone with the test run.

Nothing here needs root, Docker or a service that is already running. `Unavailable` says in plain words what is missing.
"""

from __future__ import annotations

from tests.services.process import Service, Unavailable, wait_until
from tests.services.rabbit_server import RabbitServer
from tests.services.redis_server import RedisServer
from tests.services.worker import Worker

__all__ = ("RabbitServer", "RedisServer", "Service", "Unavailable", "Worker", "wait_until")
