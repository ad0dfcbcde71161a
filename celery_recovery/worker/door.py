"""The keeper at the door through which messages come in: those that cannot become tasks become dead letters.

    message ──► sound? ──► Celery's own handler ──► pool
                  │ no, or it raises, there or later
                  ▼
                letter ──► published with confirm (or else stored) ──► acknowledged, and Celery's effects of it

An unknown task, a body that cannot be read, headers that make no sense: Celery acknowledges and forgets some of them,
and ends the worker over others. Here each is kept first, whole (see `worker/raw.py`), and the worker goes on. Errors of
the broker's connection are Celery's, and pass.

What Celery tells of them, it tells still, once: the signals `task_unknown` and `task_rejected`, the event
`task-failed`, and for an unknown task the result FAILURE (`NotRegistered`). Where an unknown task is to be held (see
`recovery_on_dead_letter`), its result stays open instead, so that a replay finishes its chord.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from celery import Celery, signals
from celery.exceptions import InvalidTaskError
from celery.worker import state
from kombu.exceptions import ContentDisallowed, DecodeError

from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.reading import text_of
from celery_recovery.exceptions import PublishFailed, StoreUnavailable
from celery_recovery.recovery import Recovery
from celery_recovery.worker.ends import chords_waiting, end_unknown
from celery_recovery.worker.frames import read_tolerantly
from celery_recovery.worker.quarantine import Line
from celery_recovery.worker.raw import RawLetter, Refusal, letter_of, letter_of_item, message_in
from celery_recovery.worker.soundness import Unsound, check_body, check_fields, name_of, parts_of, told
from celery_recovery.worker.step import RecoveryStep
from celery_recovery.worker.whole import keep_whole

__all__ = ("Door", "DoorStep")

logger = logging.getLogger("celery_recovery")

#: Seconds that a closing connection is kept open for messages that wait to be acknowledged.
_LAST_WAIT = 5.0
#: Results of unknown tasks that wait for an absent result backend; of more nothing is stored.
_MOST_ENDS = 1000
#: Strategies that read a message as Celery does; what others read is not known here.
_KNOWN_STRATEGIES = ("celery.worker.strategy:default", "celery_recovery.worker.strategy:recoverable")


class Kept(NamedTuple):
    """A refused message on its way to the letters."""

    letter: RawLetter
    #: None: it was none of kombu's.
    message: Any = None
    #: Which of Celery's signals tells of it, with what exception; None: none.
    signal: Literal["unknown", "rejected"] | None = None
    exc: BaseException | None = None


class Door:
    """The keeper of one consumer."""

    def __init__(self, consumer: Any) -> None:
        self.consumer = consumer
        self.app: Celery = consumer.app
        self.recovery = Recovery.of(self.app)
        self._line: Line[Kept] = Line("recovery-door", self._keep)
        self._ends: Line[Kept] = Line("recovery-door-ends", self._end, longest=_MOST_ENDS)
        self._kept: deque[Kept] = deque()
        self._strategies: Mapping[str, Any] = consumer.strategies
        self._zone: Any = None
        #: Tasks whose own strategy reads messages in a way that is not known here.
        self._odd: frozenset[str] = frozenset()

    # -- taking over

    def install(self) -> None:
        """Take over the consumer's handlers, on this one consumer."""
        consumer = self.consumer
        make_handler = consumer.create_task_handler
        consumer.create_task_handler = lambda *args, **options: self.handler(make_handler(*args, **options))
        consumer.on_unknown_task = self.on_unknown_task
        consumer.on_invalid_task = self.on_invalid_task
        consumer.on_decode_error = self.on_decode_error
        consumer.on_unknown_message = self.on_unknown_message
        self._guard_pool()

    def handler(self, receive: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Celery's handler of a message, behind ours."""
        passing = (*self.consumer.connection_errors, *self.consumer.channel_errors)
        admits = self.admits
        self._zone = self.app.timezone
        self._odd = frozenset(name for name, task in self.app.tasks.items() if task.Strategy not in _KNOWN_STRATEGIES)

        def on_task_received(message: Any) -> Any:
            if not admits(message):
                return None
            try:
                return receive(message)
            except passing:
                raise
            except Exception as exc:
                logger.debug("Celery did not take a message", exc_info=True)
                return self.refuse(message, _refused(exc), exc)

        return on_task_received

    def admits(self, message: Any) -> bool:
        """Whether Celery may have it; if not, it is on its way to the letters. Does no input or output."""
        try:
            headers = message.headers
            if "task" not in headers:
                return self._admits_old(message, headers)
            name = name_of(headers["task"])
            if name in self._odd:
                return True
            check_fields(headers, self._zone)
            if name not in self._strategies:
                self.on_unknown_task(None, message, KeyError(name))
                return False
            payload = message.payload
            if isinstance(payload, dict) and "args" in payload:  # headers of protocol 2, body of protocol 1
                check_fields({**payload, **headers}, self._zone)
                payload = parts_of(payload)
            check_body(payload)
        except Exception as exc:  # noqa: BLE001  # nothing here but the message can be at fault
            self.refuse(message, _refused(exc), exc)
            return False
        return True

    def _admits_old(self, message: Any, headers: Mapping[str, Any]) -> bool:
        """Protocol 1: all is in the body."""
        payload = message.payload
        if not isinstance(payload, dict) or "task" not in payload:
            self.on_unknown_message(payload, message)
            return False
        name = name_of(payload["task"])
        if name in self._odd:
            return True
        check_fields({**payload, **headers}, self._zone)
        if name not in self._strategies:
            self.on_unknown_task(payload, message, KeyError(name))
            return False
        check_body(parts_of(payload))
        return True

    def _guard_pool(self) -> None:
        """A message may wait for the pool, and be handed over from a timer or another's end, outside of any handler."""
        controller, consumer = self.consumer.controller, self.consumer
        hand_over = getattr(controller, "_process_task", None)
        if hand_over is None:
            return
        passing = (*consumer.connection_errors, *consumer.channel_errors)

        def process_task(request: Any) -> None:
            try:
                hand_over(request)
            except passing:
                raise
            except Exception as exc:
                logger.debug("the pool did not take a message", exc_info=True)
                _forget(request, consumer.pool)
                release = getattr(controller, "_quick_release", None)
                if release is not None:
                    release()
                self.refuse(request.message, _refused(exc), exc)

        controller._process_task = process_task  # noqa: SLF001  # the one place that every hand-over goes through
        if consumer.on_task_request == hand_over:
            consumer.on_task_request = process_task

    # -- what Celery calls

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """No such task here; elsewhere, or after the next deployment, there may be."""
        fields = _fields(message, body)
        self.refuse(message, Refusal.unknown_task(str(fields.get("task"))), exc, fields=fields, signal="unknown")

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """Celery, or a strategy, could not make a task of it."""
        self.refuse(message, _refused(exc), exc, fields=_fields(message, body))

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Its body cannot be read."""
        refusal = Refusal.malformed("celery.undecodable", ErrorType.PARSING, exc)
        self.refuse(message, _refused(exc) if isinstance(exc, ContentDisallowed) else refusal, exc, signal=None)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """It is no Celery message, or nothing could be read that says so."""
        said = f"it is no Celery message: neither headers nor body name a task; the body is {told(body)}"
        self.refuse(message, _refused(Unsound(said)))

    def keep_item(self, item: bytes, queue: str, exc: BaseException) -> None:
        """What stood in a queue on Redis and is no message of kombu's. Returns once it is kept; raises if it is not."""
        refusal = Refusal.malformed("celery.no_message", ErrorType.PARSING, exc, f"it is no message: {text_of(exc)}")
        message = message_in(item, queue)
        if message is None:
            letter = letter_of_item(item, refusal, self.consumer.hostname, queue)
        else:
            letter = letter_of(message, refusal, self.app, self.consumer.hostname)
        if not (self._publish(letter) or self._store(letter)):
            raise PublishFailed("neither broker nor store takes it")
        self._tell(Kept(letter))

    # -- keeping

    def refuse(
        self, message: Any, refusal: Refusal, exc: BaseException | None = None, *,
        fields: Mapping[str, Any] | None = None, signal: Literal["unknown", "rejected"] | None = "rejected",
    ) -> None:  # fmt: skip
        """Send a message the way of the dead letters. Never raises; it stays unacknowledged until it is kept."""
        try:
            if getattr(message, "recovery_unread", None) is not None:
                refusal = refusal._replace(rule="celery.unreadable_frame", message="its AMQP frame cannot be read")
            fields = _fields(message) if fields is None else fields
            chords = chords_waiting(message, fields) if signal == "unknown" else ()
            held = signal == "unknown" and self._holds(chords)
            letter = letter_of(
                message, refusal, self.app, self.consumer.hostname, fields=fields, chords=chords, held=held
            )
            self._line.put(Kept(letter, message, signal, exc))
        except Exception:
            logger.critical(
                "a message was refused (%s) and could not be kept; it stays unacknowledged, and comes back when the "
                "connection ends", refusal.message, exc_info=True, extra={"action": "letter_waits"},
            )  # fmt: skip

    def _holds(self, chords: tuple[str, ...]) -> bool:
        mode = self.recovery.settings.on_dead_letter
        return mode == "hold" or (mode == "auto" and bool(chords))

    def _keep(self, kept: Kept) -> bool:
        """Publish it, or store it; whether it is safe. In the line's thread."""
        if not (self._publish(kept.letter) or self._store(kept.letter)):
            logger.critical(
                "the message %s cannot be kept: neither broker nor store takes it; it stays unacknowledged and is "
                "tried again", kept.letter.id, extra={"action": "letter_waits", "task_id": kept.letter.id},
            )  # fmt: skip
            return False
        self._kept.append(kept)
        self.consumer.call_soon(self.settle)
        return True

    def _publish(self, letter: RawLetter) -> bool:
        try:
            self.recovery.publisher.publish_raw_letter(
                self.recovery.dead_letter_queue,
                letter.body,
                headers=letter.headers,
                properties=letter.properties,
                content_type=letter.content_type,
                content_encoding=letter.content_encoding,
            )
        except PublishFailed as exc:
            failed: Exception = exc
        except Exception as exc:  # noqa: BLE001  # of this one message only; the store may still take it
            failed = exc
        else:
            return True
        context = {"action": "letter_not_published", "task": letter.task, "task_id": letter.id}
        logger.error("the letter of message %s was not published: %s", letter.id, failed, extra=context)
        return False

    def _store(self, letter: RawLetter) -> bool:
        store = self.recovery.store
        if store is None:
            return False
        try:
            store.add(letter.to_letter())
        except StoreUnavailable as exc:
            context = {"action": "letter_not_stored", "task": letter.task, "task_id": letter.id}
            logger.error("the letter of message %s was not stored: %s", letter.id, exc, extra=context)
            return False
        return True

    # -- letting go, in the consumer's own thread

    def settle(self, *_: Any) -> None:
        """Acknowledge what is kept, and tell what Celery would have told. Never raises."""
        while self._kept:
            kept = self._kept.popleft()
            try:
                _acknowledge(kept.message)
            except Exception as exc:  # noqa: BLE001  # the connection is lost: Celery will notice by itself
                context = {"action": "not_acknowledged", "task_id": kept.letter.id}
                logger.info("the message %s is kept, and may come again: %s", kept.letter.id, exc, extra=context)
            self._tell(kept)

    def _tell(self, kept: Kept) -> None:
        letter, refusal = kept.letter, kept.letter.refusal
        logger.error(
            "message %s of task %s: dead_letter, %s: %s (%s)",
            letter.id, letter.task or "?", refusal.reason, refusal.message, refusal.rule,
            extra={
                "action": "dead_letter", "task": letter.task, "task_id": letter.id, "reason": refusal.reason,
                "error_type": refusal.error_type.value, "exception": refusal.exception, "rule": refusal.rule,
                "held": letter.held,
            },
        )  # fmt: skip
        if kept.signal == "unknown":
            self._tell_unknown(kept)
        elif kept.signal == "rejected":
            signals.task_rejected.send(sender=self.consumer, message=kept.message, exc=kept.exc)

    def _tell_unknown(self, kept: Kept) -> None:
        letter = kept.letter
        signals.task_unknown.send(
            sender=self.consumer, message=kept.message, exc=kept.exc, name=letter.task, id=letter.id
        )
        if not letter.held:
            self._send_event("task-failed", uuid=letter.id, exception=f"NotRegistered({letter.task!r})")
        if not self._ends.put(kept):
            context = {"action": "result_not_stored", "task": letter.task, "task_id": letter.id}
            logger.critical("the end of unknown task %s was not stored: too many wait", letter.id, extra=context)

    def _send_event(self, kind: str, **fields: Any) -> None:
        dispatcher = self.consumer.event_dispatcher
        try:
            if dispatcher:
                dispatcher.send(kind, **fields)
        except Exception as exc:  # noqa: BLE001  # an event is news, nothing more
            logger.warning("the event %s was not sent: %s", kind, exc, extra={"action": "event_not_sent"})

    def _end(self, kept: Kept) -> bool:
        """The result of an unknown task, from a thread of its own: an absent result backend holds up nobody."""
        letter = kept.letter
        try:
            end_unknown(self.app, letter.to_letter())
        except Exception as exc:  # noqa: BLE001  # any backend, any error: the letter is safe, the state only news
            context = {"action": "result_not_stored", "task": letter.task, "task_id": letter.id}
            logger.error("the end of unknown task %s was not stored: %s", letter.id, exc, extra=context)
        return True

    def close(self) -> None:
        """The connection is going: let go of what is kept; what is not comes back from its queue."""
        self._line.wait_empty(_LAST_WAIT)
        self._line.clear()
        self.settle()


class DoorStep(RecoveryStep):
    """Puts a `Door` before the consumer, once; what it keeps is let go before each connection ends."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def create(self, consumer: Any) -> Door:
        """Before anything of the consumer has started."""
        consumer.recovery_door = door = Door(consumer)
        door.install()
        return door

    def start(self, consumer: Any) -> None:
        """The door stands already; now there is a connection, and perhaps a lease, below which no message is seen."""
        keep_whole(consumer.connection.connection)
        read_tolerantly(consumer.connection.connection, consumer.task_consumer.channel)
        lease = getattr(consumer, "recovery_lease", None)
        if lease is not None and self.obj is not None:
            lease.on_undecodable = self.obj.keep_item

    def stop(self, consumer: Any) -> None:  # noqa: ARG002  # Celery's
        """At the end, and before every new connection."""
        if self.obj is not None:
            self.obj.close()

    def terminate(self, consumer: Any) -> None:
        """A cold shutdown does not wait."""


def _refused(exc: BaseException) -> Refusal:
    """What an exception says about a message."""
    if isinstance(exc, ContentDisallowed):
        return Refusal.malformed("celery.content_disallowed", ErrorType.SCHEMA, exc)
    if isinstance(exc, DecodeError):
        return Refusal.malformed("celery.undecodable", ErrorType.PARSING, exc)
    if isinstance(exc, InvalidTaskError):
        return Refusal.malformed("celery.malformed", ErrorType.SCHEMA, exc)
    said = f"Celery cannot take it: {type(exc).__name__}: {text_of(exc)}"
    return Refusal.malformed("celery.refused", ErrorType.SYSTEM, exc, said)


def _fields(message: Any, body: Any = None) -> Mapping[str, Any]:
    """Celery's fields: headers, and of protocol 1 the body, where it has been read already."""
    headers = getattr(message, "headers", None)
    headers = headers if isinstance(headers, Mapping) else {}
    body = getattr(message, "_decoded_cache", None) if body is None else body
    return {**body, **headers} if isinstance(body, Mapping) and "task" not in headers else headers


def _acknowledge(message: Any) -> None:
    if not hasattr(message, "ack"):  # one of the broker's library, of which kombu could make none of its own
        message.channel.basic_ack(message.delivery_tag)
    elif not message.acknowledged:
        message.ack()


def _forget(request: Any, pool: Any) -> None:
    """What Celery and its pool noted of a request before the pool refused it."""
    state.task_ready(request)
    jobs = getattr(getattr(pool, "_pool", None), "_cache", None)
    for job in list(jobs.values()) if isinstance(jobs, dict) else ():
        if getattr(job, "correlation_id", None) == request.id and not hasattr(job, "_payload"):
            job.discard()
