"""A signal's handler that talks to RabbitMQ, as Celery's cold shutdown does, in the middle of a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import amqp
import pytest
from amqp.exceptions import RecoverableConnectionError
from celery.utils.log import in_sighandler
from kombu import Connection, Consumer, Queue

from celery_recovery.worker.whole import keep_whole

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(30)]


class Reader:
    """A consumer whose connection is kept whole; `handler` is what a signal's handler does, once, where it is told."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.channel = connection.default_channel
        keep_whole(connection.connection)
        self.transport = connection.connection.transport
        self.got: list[Any] = []
        self.refused: list[Exception] = []
        self.consumer = Consumer(self.channel, [Queue("q")], on_message=self.got.append)
        self.consumer.consume()

    def handler(self, talk: Callable[[], Any]) -> Callable[[], None]:
        def once() -> None:
            if not self.refused:
                with in_sighandler(), pytest.raises(RecoverableConnectionError) as refused:
                    talk()
                self.refused.append(refused.value)

        return once

    def publish(self, body: str) -> None:
        self.channel.basic_publish(amqp.Message(body), exchange="", routing_key="q")

    def wait(self, count: int) -> list[str]:
        while len(self.got) < count:
            self.connection.drain_events(timeout=10)
        return [message.body for message in self.got]


@pytest.fixture
def reader(rabbit_url: str) -> Iterator[Reader]:
    with Connection(rabbit_url) as connection:
        yield Reader(connection)


def test_while_a_frame_is_read(reader: Reader) -> None:
    """Nobody waits for an answer there; what was being read is read to its end, and so is what follows."""
    read, signal = reader.transport._read, reader.handler(reader.consumer.cancel)

    def interrupted(size: int, initial: bool = False) -> bytes:
        if not initial:  # the header of the frame has been read
            signal()
        return bytes(read(size, initial))

    reader.transport._read = interrupted
    reader.publish("first")
    assert reader.wait(1) == ["first"]
    assert reader.channel.queue_declare("q", passive=True).consumer_count == 0
    assert reader.refused


def test_while_a_frame_is_written(reader: Reader) -> None:
    """An acknowledgement waits for no lock that its own thread holds; what was being written is written."""
    reader.publish("first")
    reader.wait(1)
    write, signal = reader.transport._write, reader.handler(reader.got[0].ack)

    def interrupted(frame: Any) -> None:
        signal()
        write(frame)

    reader.transport._write = interrupted
    reader.publish("second")
    assert reader.wait(2) == ["first", "second"]
    assert reader.refused


def test_between_two_frames(reader: Reader) -> None:
    """There the handler talks as it likes."""
    reader.publish("first")
    reader.wait(1)
    with in_sighandler():
        reader.got[0].ack()
        reader.consumer.cancel()
    assert reader.channel.queue_declare("q", passive=True).consumer_count == 0


def test_a_message_may_lead_to_a_question(reader: Reader) -> None:
    """Without a signal, what is read inside of what is read is no fault: a consumer declares a queue, say."""
    declared: list[Any] = []
    reader.consumer.on_message = lambda _: declared.append(reader.channel.queue_declare("other"))
    reader.publish("first")
    while not declared:
        reader.connection.drain_events(timeout=10)
    assert declared[0].queue == "other"
