"""The I/O steps of a process, by name, and its death at one of them.

`install` wraps what redis-py, kombu and py-amqp send; `begin` says where this process writes its steps down and which
of them is its last. A step is called `role:operation:n`: `child`, `main`, or a thread of theirs (`intake`); a Redis
command with its first key, a script by its file, a pipeline by its commands, or a broker's method; how often by now.

Steps are numbered once the file `armed` exists, so that a worker's start is not part of the enumeration. What is
delivered and acknowledged is written down always: with it, anyone can tell whether a worker holds messages.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ("CONSUMES", "HELD", "NOTES", "RETURNED", "Plan", "Target", "begin", "install", "read_trace")

#: Operations after which a message is held by this worker, and after which it is not any more (RabbitMQ).
HELD = "deliver"
RETURNED = ("basic_ack", "basic_reject")
#: Operation that begins the consumption of a queue.
CONSUMES = "consume"
#: How the storing of a result begins.
NOTES = "[SETEX celery-task-meta-"
#: What is written down whether steps count or not.
_ALWAYS = (HELD, *RETURNED, CONSUMES, NOTES)
#: What differs from run to run: ids, numbers in the names of queues, addresses.
_VARIABLE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|\d+")
_THREAD = re.compile(r"^(recovery|celery)[-_.]|[-_]?\d+$")


@dataclass(frozen=True)
class Target:
    """Where to die."""

    #: `role:operation:n`.
    step: str
    #: `before` or `after`.
    when: str
    #: `process`: the one that comes there; `group`: the whole worker.
    mode: str

    def __str__(self) -> str:
        return f"{self.step} {self.when} {self.mode}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """The opposite of `str`; operations may hold spaces."""
        step, when, mode = text.rsplit(" ", 2)
        return cls(step, when, mode)


@dataclass(frozen=True)
class Plan:
    """What the processes of one worker write and heed."""

    trace: str
    #: Steps count once this file exists.
    armed: str
    role: str = "main"
    target: Target | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        fields = json.loads(text)
        target = fields.pop("target")
        return cls(**fields, target=Target(**target) if target else None)


class _Here:
    """One process: its plan and its counters. A forked child counts on from what its predecessors wrote."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.main = self.pid = os.getpid()
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    def role(self) -> str:
        process = self.plan.role if os.getpid() == self.main else "child"
        thread = threading.current_thread()
        if thread is threading.main_thread():
            return process
        name = _THREAD.sub("", _THREAD.sub("", thread.name)).lower() or "thread"
        return name if process == self.plan.role else f"{process}/{name}"

    def enter(self, operation: str) -> str | None:
        """The name of the step that begins now; None: nobody counts."""
        if not Path(self.plan.armed).exists():
            return None
        step = f"{self.role()}:{operation}"
        with self.lock:
            if self.pid != os.getpid():
                self.pid = os.getpid()
                self.counts = Counter(
                    line["step"].rpartition(":")[0] for line in read_trace(self.plan.trace) if line["when"] == "before"
                )
            self.counts[step] += 1
            return f"{step}:{self.counts[step]}"

    def pass_by(self, step: str | None, when: str, operation: str, of: str = "") -> None:
        """Write it down, and die if this is the place."""
        if step is not None or (when == "after" and operation.startswith(_ALWAYS)):
            self.write(step or f"{self.role()}:{operation}:0", when, of)
        target = self.plan.target
        if step is not None and target is not None and (step, when) == (target.step, target.when):
            self.write(step, "killed")
            if target.mode == "group":
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, step: str, when: str, of: str = "") -> None:
        line = json.dumps({"t": time.time(), "pid": self.main, "step": step, "when": when, "of": of}) + "\n"
        descriptor = os.open(self.plan.trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


_here: _Here | None = None


def begin(plan: Plan) -> None:
    """From now on this process and its children heed this plan."""
    global _here  # noqa: PLW0603 - one per process, as its memory is
    _here = _Here(plan)


def read_trace(path: str) -> Iterator[dict[str, Any]]:
    """The lines written so far."""
    try:
        lines = Path(path).read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        yield json.loads(line)


def install() -> None:
    """Wrap the clients' methods, once per process, before anything uses them."""
    import amqp.channel
    import kombu.messaging
    import kombu.transport.redis
    import redis.client

    _wrap(redis.client.Redis, "execute_command", lambda _, *args, **__: _command(args))
    _wrap(redis.client.Pipeline, "immediate_execute_command", lambda _, *args, **__: _command(args))
    _wrap(redis.client.Pipeline, "execute", _pipeline)
    _wrap_delivery(kombu.transport.redis.Transport, "_deliver", lambda _, __, queue: f"{HELD} {_plain(queue)}")
    _wrap(kombu.messaging.Consumer, "consume", lambda consumer, *_, **__: f"{CONSUMES} {_names(consumer)}")
    channel = amqp.channel.Channel
    _wrap_delivery(channel, "_on_basic_deliver", lambda _, *args: f"{HELD} {_plain(args[4])}")
    _wrap(channel, "_basic_publish", lambda _, __, *a, **k: f"basic_publish {_address(*a, **k)}")
    _wrap(channel, "basic_publish_confirm", lambda _, __, *a, **k: f"confirmed {_address(*a, **k)}")
    for method in ("basic_ack", "basic_reject", "basic_get", "queue_declare", "exchange_declare", "queue_bind"):
        _wrap(channel, method, functools.partial(_method, method))


Named = Callable[..., "str | None"]


def _wrap(owner: Any, name: str, named: Named) -> None:
    plain = getattr(owner, name)

    @functools.wraps(plain)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        here = _here
        operation = named(self, *args, **kwargs) if here is not None else None
        if here is None or operation is None:
            return plain(self, *args, **kwargs)
        step = here.enter(operation)
        of = _of(self, operation)
        here.pass_by(step, "before", operation, of)
        result = plain(self, *args, **kwargs)
        here.pass_by(step, "after", operation, of)
        return result

    setattr(owner, name, call)


def _wrap_delivery(owner: Any, name: str, named: Named) -> None:
    """A message has arrived and nothing was done with it yet: a step that has happened already when it is seen."""
    plain = getattr(owner, name)

    @functools.wraps(plain)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        here = _here
        if here is not None:
            operation = named(self, *args, **kwargs) or HELD
            step = here.enter(operation)
            if step is not None:
                here.write(step, "before")
            here.pass_by(step, "after", operation, _of(self, operation))
        return plain(self, *args, **kwargs)

    setattr(owner, name, call)


def _pipeline(pipe: Any, *_: Any, **__: Any) -> str | None:
    commands = [_command(queued[0]) for queued in pipe.command_stack]
    if not commands:
        return None
    repeated = Counter(commands)
    return "[" + ", ".join(repeated) + "]"


def _command(args: tuple[Any, ...]) -> str:
    word = str(args[0]).upper()
    if word.startswith("SCRIPT"):
        return f"SCRIPT {_text(args[1])}" if word == "SCRIPT" else word
    if word in ("EVALSHA", "EVAL", "FCALL"):
        return f"{word.lower()} {_script_names().get(_text(args[1])) or _plain(args[3] if len(args) > 3 else '')}"
    return f"{word} {_plain(args[1])}" if len(args) > 1 else word


@functools.cache
def _script_names() -> dict[str, str]:
    """Our scripts by their digest."""
    from celery_recovery.redis.scripts import script_names, source

    texts = {name: source(name).encode() for name in script_names()}
    broker = files("celery_recovery.redis") / "lua" / "broker"
    texts |= {f"broker/{file.name[:-4]}": file.read_bytes() for file in broker.iterdir() if file.name.endswith(".lua")}
    return {hashlib.sha1(text).hexdigest(): name for name, text in texts.items()}


def _method(method: str, _: Any, *args: Any, **kwargs: Any) -> str:
    name = kwargs.get("queue") or kwargs.get("exchange") or (args[0] if args else "")
    return f"{method} {_plain(name)}" if isinstance(name, str) else method


def _address(exchange: str = "", routing_key: str = "", *_: Any, **__: Any) -> str:
    return _plain(f"{exchange}/{routing_key}")


def _of(owner: Any, operation: str) -> str:
    """What the trace must know beside the step: whose result is stored, or by which connection a message is held."""
    if operation.startswith(NOTES):
        return _stored(owner)
    if operation.startswith(CONSUMES):
        return _connection(owner.channel)
    return _connection(owner) if operation.startswith((HELD, *RETURNED)) else ""


def _connection(channel: Any) -> str:
    """Its local port: what a lost connection held, the broker has given to others."""
    try:
        return str(channel.connection.transport.sock.getsockname()[1])
    except (AttributeError, OSError):
        return ""


def _stored(pipe: Any) -> str:
    """The task whose result is stored, and the state that is stored: a retry's is no note of finished work."""
    _, key, _, value = (_text(part) for part in pipe.command_stack[0][0])
    state = re.search(r'"status": "(\w+)"', value)
    return f"{key.removeprefix('celery-task-meta-')} {state[1] if state else ''}"


def _names(consumer: Any) -> str:
    return ",".join(queue.name for queue in consumer.queues)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> str:
    """A key or an address without what differs from run to run; a structured key by its first two parts."""
    return _VARIABLE.sub("*", _text(value).replace("\x06\x16", "~"))[:48].replace(" ", "_")
