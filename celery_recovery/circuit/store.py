"""`CircuitStore`: one circuit in Redis. Each verb is one Lua script and one round trip, on the server's clock.

What the scripts do is told in `machine.py`; with `host_quorum` there is such a record for each host beside that of all:

    a call         is let through by the record of all and, when that is closed, by the host's own, which then counts it
    a host's opens it alone refuses its calls, and is a witness until the time is over
    enough hosts   are witnesses at one time: that of all opens
    that of all    closes again, or is closed by hand: the hosts begin anew

A circuit that Redis does not know (any more) is closed, and begins with the server's time in milliseconds as its
generation: what calls report that were admitted before it was lost is late. A call that is sent again, because its
connection broke before the answer came, is counted once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import redis

from celery_recovery.circuit import machine
from celery_recovery.circuit.machine import Answer, Change, Pace
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent, CircuitState, after, as_lua
from celery_recovery.circuit.view import CircuitView
from celery_recovery.redis.client import reachable
from celery_recovery.redis.keys import CircuitKeys
from celery_recovery.redis.scripts import source

__all__ = ("CircuitStore", "Reported", "circuits", "states_of")

#: Seconds for which the name of a circuit that nobody uses is kept, and most names.
NAMES_KEPT, MOST_NAMES = 7 * 86400, 10_000
#: Circuits read in one round trip.
READ_BATCH = 1000
#: Seconds between two notes of one process that a circuit is in use.
NOTED_EVERY = 60.0
#: Characters of a reason that are kept.
REASON_LIMIT = 500

_POLICY = (
    "failure_rate_threshold",
    "slow_call_rate_threshold",
    "minimum_calls",
    "window",
    "consecutive_failures",
    "open_duration",
    "longest_open",
    "half_open_permits",
    "permit_lease",
    "host_quorum",
    "return_rate",
    "return_peak",
)
_FORMAT = f">{len(_POLICY)}d"
_SHARED = (
    "BUCKETS",
    "DOUBLING",
    "FIRST_SHARE",
    "LEAST_RATE",
    "BURST",
    "LOOK",
    "PROBE_PAUSE",
    "HISTORY_LIMIT",
)


class Reported(NamedTuple):
    """Calls that ended well and were not reported yet: what they were admitted under, and how many they are."""

    generation: int
    calls: int
    scope: str = ""


class CircuitStore:
    """One circuit in one Redis; every method raises `StoreUnavailable`.

    `host` is who asks, where hosts count; `by` who sets it, if `set` is not told. `clock`, unix seconds, is for tests:
    it takes the place of the server's own.
    """

    clock: float | None = None

    def __init__(
        self, client: Any, prefix: str, name: str, policy: CircuitPolicy, *, host: str = "", by: str = ""
    ) -> None:
        self.client = client
        self.name = name
        self.policy = policy
        self.keys = CircuitKeys(prefix, name)
        self._index = CircuitKeys.index(prefix)
        self._host = host
        self._by = by
        self._numbers = struct.pack(_FORMAT, *(getattr(policy, one) or 0 for one in _POLICY))
        self._noted: float | None = None

    def admit(self, token: str = "", *, done: Reported | None = None) -> Answer:
        """May a call go through? A probe holds its place under `token`. What is `done` is reported first."""
        ended = ("", 0, "") if done is None else done
        return self._ask("admit", _call_name(), self._host, token, *ended)

    def report(
        self, generation: int, calls: int, failed: int = 0, slow: int = 0, token: str = "", scope: str = ""
    ) -> Answer:
        """So many calls, admitted under `generation` and `scope`, have ended; 0: the place of `token` is given back."""
        return self._ask("report", _call_name(), self._host, token, generation, calls, failed, slow, scope)

    def set(self, event: CircuitEvent, seconds: float | None = None, *, by: str = "", reason: str = "") -> Answer:
        """What a person asks for; `seconds`: how long it is forced open. Raises `IllegalTransition`."""
        detail = {"by": by or self._by, "reason": reason[:REASON_LIMIT]}
        text = json.dumps({key: value for key, value in detail.items() if value})
        end = "" if seconds is None else repr(float(seconds))
        return self._ask("set", _call_name(), event.value, end, text, event=event)

    def pace(self, most: int) -> Pace:
        """How many of the tasks that wait for it may go back to their queues now, at most `most`."""
        count, look = self._run("pace", most)
        return Pace(int(count), float(look))

    def read(self) -> CircuitView:
        """All that can be seen of it; changes nothing."""
        state, *numbers, hosts, history, settings = self._run("read")
        generation, since, until, openings, calls, failed, slow, row, probing, steady, returning = map(_number, numbers)
        known = bool(state)
        return CircuitView(
            name=self.name,
            state=CircuitState(state.decode()) if known else CircuitState.CLOSED,
            generation=int(generation or 0) if known else 0,
            since=since or 0.0 if known else 0.0,
            until=until,
            openings=int(openings or 0),
            calls=int(calls or 0),
            failed=int(failed or 0),
            slow=int(slow or 0),
            row=int(row or 0),
            probing=int(probing or 0),
            steady=steady or 0.0,
            returning=returning,
            hosts={host.decode(): CircuitState(hosts[n + 1].decode()) for n, host in enumerate(hosts) if n % 2 == 0},
            history=tuple(_change(json.loads(one)) for one in history),
            settings=dict(zip(_POLICY, struct.unpack(_FORMAT, settings), strict=True)),
        )

    def _ask(self, verb: str, *arguments: Any, event: CircuitEvent | None = None) -> Answer:
        permitted, state, generation, wait, scope, told = self._run(verb, *arguments)
        now = CircuitState(state.decode())
        if permitted == -1 and event is not None:
            after(now, event)  # says what is wrong
        changes = tuple(_change(one) for one in json.loads(told)) if told else ()
        self._note(at_once=bool(changes))
        return Answer(permitted == 1, now, int(generation), _number(wait), changes, scope.decode())

    def _run(self, verb: str, *arguments: Any) -> Any:
        clock = "" if self.clock is None else repr(self.clock)
        return _run(self.client, verb, self.keys.root, clock, self._numbers, *arguments)

    def _note(self, at_once: bool) -> None:
        """Note in the index that it is in use. The answer is there already: if this fails, it is for the next time."""
        now = time.monotonic()
        if at_once or self._noted is None or now - self._noted >= NOTED_EVERY:
            self._noted = now
            with contextlib.suppress(redis.RedisError):
                _evaluate(self.client, "list", self._index, self.name, NAMES_KEPT, MOST_NAMES)


def circuits(client: Any, prefix: str) -> list[str]:
    """Names of the circuits that were used in the last week, in order. Raises `StoreUnavailable`."""
    with reachable(client):
        found: Any = client.zrange(CircuitKeys.index(prefix), 0, -1)
    return sorted(name.decode() for name in found)


def states_of(client: Any, prefix: str, names: Sequence[str]) -> dict[str, CircuitState]:
    """Name -> state, as it is written down. Raises `StoreUnavailable`."""
    found: list[Any] = []
    with reachable(client):
        for first in range(0, len(names), READ_BATCH):
            pipe = client.pipeline(transaction=False)
            for name in names[first : first + READ_BATCH]:
                pipe.hget(CircuitKeys(prefix, name).record(), "state")
            found += pipe.execute()
    return {name: CircuitState((state or b"closed").decode()) for name, state in zip(names, found, strict=True)}


def _run(client: Any, verb: str, *arguments: Any) -> Any:
    with reachable(client):
        return _evaluate(client, verb, *arguments)


def _evaluate(client: Any, verb: str, root: str, *arguments: Any) -> Any:
    """One round trip; one more when Redis has restarted and does not know the script any more."""
    text, digest = _script(verb)
    try:
        return client.evalsha(digest, 1, root, *arguments)
    except redis.exceptions.NoScriptError:
        return client.eval(text, 1, root, *arguments)


@cache
def _script(verb: str) -> tuple[str, str]:
    """A script, and the digest that Redis knows it by."""
    text = source(f"circuit/{verb}", _prelude)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _prelude() -> str:
    """What stands in front of each script: keys, transitions, the names of the settings, the machine's constants."""
    settings = ", ".join(f"'{name}'" for name in _POLICY)
    values = ", ".join(repr(getattr(machine, name)) for name in _SHARED)
    constants = f"local POLICY = {{{settings}}}\nlocal {', '.join(_SHARED)} = {values}\n"
    return CircuitKeys.lua() + as_lua() + constants


def _call_name() -> str:
    """One for each call: what is sent again has the same."""
    return os.urandom(9).hex()


def _number(text: bytes) -> float | None:
    return float(text) if text else None


def _change(known: dict[str, Any]) -> Change:
    return Change(
        CircuitState(known["before"]),
        CircuitState(known["after"]),
        CircuitEvent(known["cause"]),
        float(known["at"]),
        int(known["generation"]),
        known["scope"],
        known["detail"],
    )
