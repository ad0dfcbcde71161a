"""Who has a task: what is remembered, in Redis, of each life that did not simply succeed.

A task that is delivered once and succeeds costs nothing here. Redis is asked when a message is anything but that: the
broker delivers it again, or it is a retry, a snooze, or a release from parking. One record a life:

    start ──► running ──► leave ──► leaving ──► start of the copy that was announced: one step further, running
                │                     │
                │                     └──► end: done (a dead letter, confirmed) or left (what follows is published)
                ├──► end: done (success)
                └──► end: waiting (given back to the broker)

- **Announced first.** `leave` names the copy that will follow before it is published. A worker killed in between leaves
  a message that is delivered again and an announced copy that may or may not exist: the message runs again, and the
  announced copy is revoked. Whichever of two copies comes too late is dropped at its start. Of a dead letter the
  announcement is the letter's own text: whoever finds it unfinished writes it, and the body does not run again.
- **A crash** is a start without an end, by a worker that does not run it any more. A message that was merely prefetched
  has no start and is not blamed. After `max_crashes` of them the task is poison.
- **One suspect at a time.** All that ran when a worker died look the same. So of the tasks that have crashed one, each
  worker runs one at a time, and the next crash tells the culprit from the bystanders.
- **Only evidence drops a copy.** Redis may lose its last writes when it fails over. Whatever is not known runs: a twin
  may then run twice, but none is lost.

Times are unix seconds by the clock of the Redis server.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import redis

from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.identity import Identity
from celery_recovery.passage import Passage
from celery_recovery.redis.client import address, reachable
from celery_recovery.redis.keys import Keys
from celery_recovery.redis.scripts import Scripts

__all__ = ("PRESENCE", "Custody", "Started", "Verdict", "passage_arguments")

#: Seconds after its last beat that a worker is taken to live; it beats three times in that time.
PRESENCE = 15.0
#: Seconds without an answer after which a Redis hangs; one that refuses says so at once.
HANGS = 1.0

Verdict = Literal["new", "run", "twin", "letter", "busy", "wait", "poison"]


class Started(NamedTuple):
    """The answer to a worker that asks whether it may run a message (`attempt_start.lua` has the words)."""

    verdict: Verdict
    #: Starts without an end so far.
    crashes: int = 0
    #: Of each crash: `{at, worker}`, when it had started and where.
    evidence: tuple[dict[str, Any], ...] = ()
    #: Of a twin or a letter: how its life ended, as `leave` and `end` were told.
    ended: dict[str, Any] | None = None


class Custody:
    """Keeps the records of one application. Every method raises `StoreUnavailable`."""

    def __init__(self, client: redis.Redis, keys: Keys, *, ttl: float, max_crashes: int) -> None:
        self.client = client
        self.keys = keys
        self.max_crashes = max_crashes
        self._ttl = max(int(ttl), 1)
        self._scripts = Scripts(client, keys)
        self._rests_until = 0.0

    def start(self, passage: Passage, boot: str, worker: str = "", *, redelivered: bool = False) -> Started:
        """Ask whether this worker may run the message; if so it is now the one that runs it."""
        started, other = self._start(passage, boot, worker, redelivered)
        if started.verdict == "busy" and self._bury(other):
            started, _ = self._start(passage, boot, worker, redelivered)
        return started

    def leave(
        self, passage: Passage, next_copy: str, boot: str, worker: str = "", letter: Mapping[str, Any] | None = None
    ) -> tuple[bool, Any]:
        """Announce the copy that will follow (`""`: a dead letter, and what it will say).

        False: somebody else has seen to it, and how. True with a letter: somebody meant to write that one, and may not
        have; it is to be written, whatever else was announced.
        """
        told = json.dumps(letter, default=repr) if letter is not None else ""
        arguments = (*passage_arguments(passage), next_copy, boot, worker, self._ttl, told)
        verdict, ended = self._run("attempt_leave", arguments)
        return verdict == b"go", _json(ended)

    def end(self, passage: Passage, state: Literal["done", "left", "waiting"], ended: Any = None) -> bool:
        """Note how it ended; False when something later is known."""
        told = json.dumps(ended) if ended is not None else ""
        return bool(self._run("attempt_end", (*passage_arguments(passage), state, told, self._ttl)))

    def moved_on(self, passage: Passage) -> bool:
        """Whether the run of this message had got further with a batch when it died."""
        if not passage.life:
            return False
        with reachable(self.client):
            moved: Any = self.client.hget(self.keys.attempt(passage.life), "moved")
        return bool(moved == str(passage.step).encode())

    def hold(self, passages: Iterable[Passage], boot: str, worker: str = "") -> int:
        """The worker goes on running these, though the broker will give them to others; returns how many were noted."""
        told = [word for passage in passages for word in passage_arguments(passage)]
        return int(self._run("attempt_hold", (boot, worker, self._ttl, *told))) if told else 0

    def beat(self, identity: Identity, running: Sequence[str]) -> None:
        """The worker lives, and runs these lives of those that anybody may ask about."""
        key, presence = self.keys.running(identity.boot), int(PRESENCE)
        with reachable(self.client):
            pipe = self.client.pipeline(transaction=True)
            pipe.set(self.keys.worker(identity.boot), json.dumps(identity.to_dict()), ex=presence)
            pipe.delete(key)
            if running:
                pipe.sadd(key, *running)
                pipe.expire(key, presence)
            pipe.execute()

    def leave_office(self, identity: Identity) -> None:
        """The worker ends in order."""
        with reachable(self.client):
            self.client.delete(self.keys.worker(identity.boot), self.keys.running(identity.boot))

    def _run(self, name: str, arguments: Any) -> Any:
        """One script. A Redis that hangs keeps one task waiting, not each: it is left alone for as long again."""
        began = time.monotonic()
        if began < self._rests_until:
            raise StoreUnavailable(f"the dead-letter store in Redis at {address(self.client)} hung a moment ago")
        try:
            return self._scripts(name, arguments)
        except StoreUnavailable:
            took = time.monotonic() - began
            if took >= HANGS:
                self._rests_until = began + 2 * took
            raise

    def _start(self, passage: Passage, boot: str, worker: str, redelivered: bool) -> tuple[Started, str]:
        asked = uuid.uuid4().hex  # the client asks once more when the connection is lost, and the answer with it
        arguments = (*passage_arguments(passage), int(redelivered), boot, worker, self.max_crashes, self._ttl, asked)
        verdict, crashes, evidence, rest = self._run("attempt_start", arguments)
        word: Verdict = verdict.decode()
        busy = word == "busy"
        told = tuple(_json(evidence) or ())
        return Started(word, int(crashes), told, None if busy else _json(rest)), rest.decode() if busy else ""

    def _bury(self, boot: str) -> bool:
        """Whether the worker's process is certainly gone, as only its own machine can tell: nobody need wait then."""
        with reachable(self.client):
            told = self.client.get(self.keys.worker(boot))
            try:
                gone = Identity(**json.loads(told or b"")).is_gone()
            except (ValueError, TypeError):
                return False
            return bool(gone) and bool(self.client.delete(self.keys.worker(boot)))


def passage_arguments(passage: Passage) -> tuple[str, int, str]:
    """As the scripts take it."""
    return passage.life, passage.step, passage.copy


def _json(told: bytes) -> Any:
    return json.loads(told) if told else None
