"""Children that are forked while the threads of their main process are in the middle of something."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from billiard.context import ForkProcess
from celery import Celery

from celery_recovery.dead_letters.exchange import Publisher
from tests.integration.jobs_client import Jobs, eventually
from tests.services import Worker


def opened() -> Iterator[os.stat_result]:
    """What this process has open."""
    for number in range(256):
        with contextlib.suppress(OSError):
            yield os.fstat(number)


@pytest.mark.rabbitmq
def test_a_child_leaves_the_connections_alone(rabbit_url: str) -> None:
    """It has its copy of the socket closed; the parent, in the middle of a message, notices nothing."""
    app = Celery("forks", broker=rabbit_url, set_as_current=False)
    failures: list[int] = []
    publisher = Publisher(app, 5, lambda: failures.append(1))
    queue = app.amqp.queues["celery"]
    with publisher.producer() as producer:
        queue(producer.channel).declare()
        shared = os.fstat(producer.connection.connection.transport.sock.fileno())

        def child() -> None:
            assert not any(os.path.samestat(shared, one) for one in opened())

        process = ForkProcess(target=child)
        process.start()
        process.join(20)
        assert process.exitcode == 0
        producer.publish("x", routing_key="celery", retry=False, confirm_timeout=5)
    publisher.publish(
        b"x", headers={}, properties={}, content_type="text/plain", content_encoding="utf-8", routing_key="celery"
    )
    assert failures == []
    with publisher.producer() as producer:
        assert queue(producer.channel).queue_declare(passive=True).message_count == 2


def test_threads_import_nothing(jobs_with: Callable[..., Jobs]) -> None:
    """A child that is forked during an import of another thread would wait for that module for ever."""
    jobs = jobs_with(recovery_park_after=0.5)
    worker: Worker = jobs.worker(module="tests.apps.imports")
    jobs.send("flaky", "t", 1, countdown=2)
    died = jobs.send("broken", "b")
    jobs.letter(died.id)
    eventually(lambda: len(jobs.ledger.lines("t")) == 2, what="a parked task and its retry")
    assert jobs.dead_letters.replay(died.id).published == 1
    eventually(lambda: len(jobs.ledger.lines("b")) == 2, what="the replay")
    assert jobs.ledger.lines("imports") == []
    assert worker.running
