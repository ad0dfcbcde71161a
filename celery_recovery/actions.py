"""Carry out a decision: the only place that publishes, stores or ends a task. Nothing is decided here.

Each function returns the exception that `RecoverableTask.__call__` must leave with, because that is how a task tells
Celery its end: `Retry` (published again), `Ignore` (held), `Reject` (give the message back), or the original exception.

Write before you let go: the retry or the letter is confirmed by the broker before any of these is returned. With
`acks_late` Celery acknowledges the old message only afterwards, and a kill in between leaves two copies, never none.
"""

from __future__ import annotations

import hashlib
import logging
import math
import uuid
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from celery import Celery, Task
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.quorum_queues import detect_quorum_queues
from kombu import Queue
from kombu.serialization import registry
from kombu.utils.encoding import safe_repr

from celery_recovery import clock
from celery_recovery.call import Call
from celery_recovery.dead_letters.chords import renew
from celery_recovery.dead_letters.exchange import NOT_ENCODABLE, Publisher
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.origin import Origin
from celery_recovery.dead_letters.received import HEADER, KEPT_PROPERTIES, VERSION, clean_headers
from celery_recovery.dead_letters.signature import parameters_of
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.decision import Decision
from celery_recovery.errors.model import ErrorInfo
from celery_recovery.exceptions import PublishFailed, StoreUnavailable, Unroutable, UnserialisableLetter
from celery_recovery.history import History
from celery_recovery.parking import ParkedTask, Parking
from celery_recovery.passage import Passage
from celery_recovery.redact import Redactor

if TYPE_CHECKING:
    from celery_recovery.monitoring.tracing import Attempt

__all__ = ("QUARANTINED", "Actions", "Failure", "chords_of")

logger = logging.getLogger("celery_recovery")

#: The state of a held task in the result backend. Not one of Celery's ready states: whoever waits goes on waiting.
QUARANTINED = "QUARANTINED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt: the record that every step of the pipeline reads and hands on."""

    task: Task
    request: Context
    #: What the attempt ended with; what the caller sees, where the caller sees anything.
    exc: BaseException
    info: ErrorInfo
    history: History
    origin: Origin
    #: The arguments of the next attempt, or of the letter.
    call: Call
    #: Options of `self.retry()` that are passed on to `apply_async` (priority, queue, time limits …).
    options: dict[str, Any]
    #: The `replay` part of the header, where this task is a replayed letter.
    replay: dict[str, Any] | None
    #: Seconds the attempt ran.
    runtime: float
    #: Where its message stands in the life of the task, and where the next one will.
    passage: Passage
    onward: Passage | None = None
    #: The span it failed in; None: there are no traces.
    trace: Attempt | None = None


class Actions:
    """Acts on decisions, for one application."""

    def __init__(
        self, app: Celery, publisher: Publisher, queue: Queue, store: DeadLetterStore | None, code_version: str = "",
        redact: Redactor | None = None,
    ) -> None:  # fmt: skip
        self.app = app
        self.publisher = publisher
        self.queue = queue
        self.store = store
        #: Of the code that runs here; letters carry it.
        self.code_version = code_version
        #: Knows which arguments of a task are secret: tools need not know the task.
        self._redact = redact or Redactor()

    def retry(self, failure: Failure, decision: Decision) -> BaseException:
        """Publish the next attempt; `Retry` is the answer.

        When the broker stays away: a message that is still ours (late acknowledgement) is given back, any other becomes
        a dead letter. So do arguments that cannot be serialised. The original exception is never lost over it.
        """
        signature = self._next_attempt(failure, decision)
        answer: BaseException = Retry(
            exc=failure.exc,
            when=decision.delay,
            sig=signature,
            is_eager=failure.request.is_eager,
        )
        if failure.request.is_eager:
            return answer
        try:
            with failure.trace.within() if failure.trace is not None else nullcontext():
                self.publisher.publish_signature(signature, self._serializers(failure.task))
        except Unroutable as exc:  # given back, it would come again and lead nowhere again
            _complain("retry_not_published", failure, exc)
            return self.dead_letter(failure, decision.not_published(), hold=False)
        except PublishFailed as exc:
            _complain("retry_not_published", failure, exc)
            return self._give_back(failure) or self.dead_letter(failure, decision.not_published(), hold=False)
        except UnserialisableLetter as exc:
            _complain("retry_not_published", failure, exc)
            unchanged = Call(tuple(failure.request.args or ()), dict(failure.request.kwargs or {}))
            return self.dead_letter(replace(failure, call=unchanged), decision.not_published(), hold=False)
        return answer

    def dead_letter(self, failure: Failure, decision: Decision, *, hold: bool) -> BaseException:
        """Publish the letter, then end the task: failed as Celery would, or held open.

        The fallbacks, in order: the letter written straight into the store; the message given back to the broker where
        it is still ours; the letter in the log, and the failure in the result.
        """
        letter = self._letter(failure, decision, hold)
        if not (self._publish_letter(failure, letter) or self._store_letter(failure, letter)):
            given_back = self._give_back(failure)
            if given_back is not None:
                return given_back
            logger.critical(
                "the dead letter of %s[%s] could be kept nowhere; here it is: %s",
                failure.task.name, failure.request.id, safe_repr(letter), extra={"action": "letter_logged"},
            )  # fmt: skip
            return failure.exc
        return self._held(failure, decision) if hold else failure.exc

    def keep_letter(self, failure: Failure, decision: Decision) -> bool:
        """Publish the letter of one item of a batch, or else store it; False: it could be kept nowhere."""
        letter = self._letter(failure, decision, hold=False)
        return self._publish_letter(failure, letter) or self._store_letter(failure, letter)

    def put_off(self, task: Task, request: Context, passage: Passage, seconds: float, why: str) -> BaseException:
        """Publish the same message, due in `seconds`: it can neither run now nor be dropped. No attempt, no failure.

        `Ignore` is the answer; `Reject` with requeue where that cannot be published.
        """
        header = request.__dict__.get("recovery")
        header = {**(header if isinstance(header, Mapping) else {}), **passage.to_header(), "again": True}
        headers = {**clean_headers(request.headers or {}), HEADER: header}
        options = {**Origin.of(self.app, request).route(), "countdown": self._countdown(seconds), "headers": headers}
        signature = task.signature_from_request(request, retries=request.retries or 0, **options)
        signature.options.pop("redelivered", None)
        context = {"action": "put_off", "task": task.name, "task_id": request.id, "reason": why, "delay": seconds}
        try:
            self.publisher.publish_signature(signature, self._serializers(task))
        except (PublishFailed, UnserialisableLetter) as exc:
            logger.error("task %s[%s] is given back (%s): %s", task.name, request.id, why, exc, extra=context)
            given_back: BaseException = Reject(why, requeue=True)
            return given_back
        logger.info("task %s[%s] put off for %g s: %s", task.name, request.id, seconds, why, extra=context)
        dropped: BaseException = Ignore(f"put off: {why}")
        return dropped

    def park(
        self, parking: Parking | None, task: Task, request: Context, passage: Passage, seconds: float, reason: str,
        circuit: str = "",
    ) -> BaseException:  # fmt: skip
        """Park this same message for about `seconds`, or until `circuit` lets it go on. No attempt, no failure.

        `Ignore` is the answer. Where it cannot be parked (Redis is away) it is put off by way of the broker.
        """
        if parking is None:
            return self.put_off(task, request, passage, seconds, reason)
        try:
            parked = self._parked(task, request, passage, seconds, reason, circuit)
            parking.park(parked)
        except (StoreUnavailable, *NOT_ENCODABLE):
            return self.put_off(task, request, passage, seconds, reason)
        logger.info(
            "task %s[%s] is parked: %s%s", task.name, request.id, reason, f" {circuit}" if circuit else "",
            extra={"action": "parked", "task": task.name, "task_id": request.id, "reason": reason, "circuit": circuit,
                   "due": parked.due},
        )  # fmt: skip
        dropped: BaseException = Ignore(f"parked: {reason}")
        return dropped

    def _parked(
        self, task: Task, request: Context, passage: Passage, seconds: float, reason: str, circuit: str
    ) -> ParkedTask:
        """The message as it came, with one deferral more. Of a known life it is one entry, however often it is parked.

        The count of deferrals is part of its name: what is released, and refused again, is another entry than the one
        that its releaser is about to remove.
        """
        header = request.__dict__.get(HEADER)
        header = dict(header) if isinstance(header, Mapping) else {}
        origin, count = Origin.of(self.app, request), History.from_header(header).deferrals + 1
        header.update(passage.to_header(), version=VERSION, origin=origin._asdict(), again=True, deferrals=count)
        headers, properties, body = self._message(request, task, Call(tuple(request.args or ()), request.kwargs or {}))
        headers.update(clean_headers(request.headers or {}), retries=request.retries or 0, expires=request.expires)
        headers[HEADER] = header
        own = {name: value for name in KEPT_PROPERTIES if (value := (request.properties or {}).get(name)) is not None}
        content_type, encoding, raw = self._written(task, body)
        mark = f"{passage.life}\0{passage.step}\0{passage.copy}\0{count}" if passage.life else uuid.uuid4().hex
        now = clock.now()
        return ParkedTask(
            key=hashlib.sha256(mark.encode("utf-8", "replace")).hexdigest()[:32],
            id=request.id,
            task=task.name,
            due=now + seconds,
            parked_at=now,
            reason=reason,
            circuit=circuit,
            queue=origin.queue or "",
            exchange="" if origin.queue else origin.exchange,
            routing_key="" if origin.queue else origin.routing_key,
            body=raw,
            headers=headers,
            properties={**properties, **own},
            content_type=content_type,
            content_encoding=encoding,
            worker=request.hostname or "",
        )

    def _written(self, task: Task, body: Any) -> tuple[str, str, bytes]:
        """The body by the first serialiser that can write it. Raises one of `NOT_ENCODABLE` when none can."""
        *others, last = self._serializers(task)
        for serializer in others:
            with suppress(*NOT_ENCODABLE):
                return _as_bytes(*registry.dumps(body, serializer=serializer))
        return _as_bytes(*registry.dumps(body, serializer=last))

    def _message(self, request: Context, task: Task, call: Call) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """Celery's own message for this task, as it would be sent for a first time."""
        stamps = {name: (request.stamps or {}).get(name) for name in request.stamped_headers or ()}
        hard, soft = request.timelimit or (None, None)
        headers, properties, body, _ = self.app.amqp.as_task_v2(
            request.id, task.name, call.args, call.kwargs,
            group_id=request.group, group_index=request.group_index, chord=request.chord, chain=request.chain,
            callbacks=request.callbacks, errbacks=request.errbacks, reply_to=request.reply_to,
            time_limit=hard, soft_time_limit=soft, root_id=request.root_id, parent_id=request.parent_id,
            shadow=request.shadow, origin=request.origin, ignore_result=request.ignore_result,
            replaced_task_nesting=request.replaced_task_nesting, stamped_headers=request.stamped_headers, **stamps,
        )  # fmt: skip
        return headers, properties, body

    def _next_attempt(self, failure: Failure, decision: Decision) -> Any:
        request, options = failure.request, dict(failure.options)
        if not options.keys() & {"queue", "exchange", "routing_key"}:
            options.update(failure.origin.route())
        retries = (request.retries or 0) + decision.uses_attempt
        header = self._header(failure, decision.onto(failure.history))
        headers = {**clean_headers(request.headers or {}), **(options.pop("headers", None) or {}), HEADER: header}
        headers = _traced(failure, headers)
        signature = failure.task.signature_from_request(
            request,
            failure.call.args,
            failure.call.kwargs,
            countdown=self._countdown(decision.delay),
            retries=retries,
            headers=headers,
            **options,
        )
        signature.options.pop("redelivered", None)  # Celery copies the whole delivery where it knows no queue
        if failure.options.keys() & {"exchange", "routing_key"} and "queue" not in failure.options:
            signature.options.pop("queue", None)  # and the queue of the delivery beside the user's own exchange
        return signature

    def _countdown(self, delay: float | None) -> float | None:
        """Native delayed delivery knows whole seconds: Celery cuts off the rest, and kombu refuses less than one."""
        if not delay:
            return delay
        driver = self.app.connection_for_write().transport.driver_type
        return math.ceil(delay) if detect_quorum_queues(self.app, driver)[0] else delay

    def _header(self, failure: Failure, history: History) -> dict[str, Any]:
        header = {**history.to_header(), "version": VERSION, "origin": failure.origin._asdict()}
        known = failure.request.__dict__.get(HEADER)
        if isinstance(known, Mapping) and isinstance(known.get("batch"), Mapping):
            header["batch"] = dict(known["batch"])
        if failure.onward is not None:
            header.update(failure.onward.to_header())
        return header if failure.replay is None else {**header, "replay": failure.replay}

    def _letter(self, failure: Failure, decision: Decision, hold: bool) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """Celery's own message for this task, as it would be sent for a first time, with the letter in its header."""
        request = failure.request
        headers, properties, body = self._message(request, failure.task, failure.call)
        header = self._header(failure, failure.history)
        header["letter"] = {
            "error": failure.info.to_dict(),
            "reason": decision.reason.value,
            "detail": decision.detail,
            "action": decision.action.value,
            "held": hold,
            "chords": chords_of(request),
            "died_at": failure.info.timestamp,
            "worker": request.hostname,
            "code_version": self.code_version,
            "attempt": decision.attempt,
            "replays": failure.history.replays,
            "unserialisable": False,
        }
        secret = self._redact.secret_among(parameters_of(failure.task), len(failure.call.args))
        if secret:
            header["letter"]["secret_args"] = list(secret)
        if failure.origin.priority is not None:
            properties["priority"] = failure.origin.priority
        headers = _traced(failure, {**headers, **clean_headers(request.headers or {}), HEADER: header})
        return headers, properties, body

    def _publish_letter(self, failure: Failure, letter: Any) -> bool:
        try:
            try:
                self.publisher.publish_letter(self.queue, letter, self._serializers(failure.task))
            except UnserialisableLetter as exc:
                _complain("letter_unserialisable", failure, exc)
                self.publisher.publish_letter(self.queue, _readable(letter), ("json",))
        except (PublishFailed, UnserialisableLetter) as exc:
            _complain("letter_not_published", failure, exc)
            return False
        return True

    def _store_letter(self, failure: Failure, letter: Any) -> bool:
        if self.store is None:
            return False
        (content_type, encoding, raw), (headers, properties, _) = self._dumped(failure, letter)
        try:
            self.store.add(
                Letter.from_message(
                    raw, headers=headers, properties=properties, content_type=content_type, content_encoding=encoding
                )
            )
        except StoreUnavailable as exc:
            _complain("letter_not_stored", failure, exc)
            return False
        return True

    def _dumped(self, failure: Failure, letter: Any) -> tuple[tuple[str, str, bytes], Any]:
        """The body by the first serialiser that can write it, with its letter; by none: made readable, as JSON."""
        for serializer in self._serializers(failure.task):
            try:
                return registry.dumps(letter[2], serializer=serializer), letter
            except NOT_ENCODABLE:
                continue
        readable = _readable(letter)
        return registry.dumps(readable[2], serializer="json"), readable

    def _give_back(self, failure: Failure) -> BaseException | None:
        """`Reject` with requeue where the message is still unacknowledged; None where it is not ours any more."""
        return Reject(failure.exc, requeue=True) if failure.task.acks_late else None

    def _held(self, failure: Failure, decision: Decision) -> BaseException:
        """Leave the task open: neither chord nor chain learns of a failure until a replay or a discard ends it."""
        renew(failure.task.backend, chords_of(failure.request))
        if not failure.request.ignore_result:
            info = failure.info
            meta = {"exc_type": info.exception, "exc_message": info.message, "reason": decision.reason.value}
            try:
                failure.task.backend.store_result(failure.request.id, meta, QUARANTINED, request=failure.request)
            except Exception as exc:  # noqa: BLE001  # any backend, any error: the letter is safe, the state only news
                _complain("hold_not_stored", failure, exc)
        held: BaseException = Ignore(f"held as a dead letter: {failure.info.exception}")
        return held

    def _serializers(self, task: Task) -> tuple[str, ...]:
        """The task's own serialiser, then whatever else the app accepts: the message may have come with any of them."""
        own = task.serializer or self.app.conf.task_serializer
        names = registry.type_to_name
        accepted = (names.get(accept, accept) for accept in self.app.conf.accept_content or ())
        return tuple(dict.fromkeys((own, *accepted)))


def _traced(failure: Failure, headers: dict[str, Any]) -> dict[str, Any]:
    """Headers of what follows from the failure."""
    return headers if failure.trace is None else failure.trace.carried(headers)


def _as_bytes(content_type: str, encoding: str, raw: Any) -> tuple[str, str, bytes]:
    return content_type, encoding, raw.encode("utf-8") if isinstance(raw, str) else bytes(raw)


def _readable(letter: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """The letter with its arguments replaced by their `repr`: fit for reading, not for replaying."""
    headers, properties, (args, kwargs, _) = letter
    recovery = {**headers["recovery"], "letter": {**headers["recovery"]["letter"], "unserialisable": True}}
    readable = {str(key): safe_repr(value) for key, value in kwargs.items()}
    body: Any = ([safe_repr(value) for value in args], readable, {})
    return {**headers, "recovery": recovery}, properties, body


def chords_of(request: Context) -> list[str]:
    """Ids of the chord headers (groups) that wait for this task, directly or at the end of its chain."""
    chords = [request.group] if request.chord and request.group else []
    for link in request.chain or ():
        options = link.get("options", {}) if isinstance(link, dict) else {}
        if options.get("chord"):
            chords.append(options.get("group_id"))
    return [chord for chord in chords if chord]


#: What went wrong beside the task's own failure, by the `action` of its log line.
_COMPLAINTS = {
    "retry_not_published": "the retry was not published",
    "letter_unserialisable": "the arguments cannot be serialised; the letter holds their repr",
    "letter_not_published": "the dead letter was not published",
    "letter_not_stored": "the dead letter was not stored",
    "hold_not_stored": "it is held, but its state was not stored",
}


def _complain(action: str, failure: Failure, exc: Exception) -> None:
    context = {"action": action, "task": failure.task.name, "task_id": failure.request.id}
    logger.error("task %s[%s]: %s: %s", failure.task.name, failure.request.id, _COMPLAINTS[action], exc, extra=context)
