"""Processes for the tests of a shared circuit: `python -m …breaker_processes WHAT URL`; JSON comes out.

The circuit is always `NAME`, with what `SETTINGS` says.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from typing import Any

from celery_recovery.circuit.breaker import CircuitBreaker

__all__ = ("NAME", "RACERS", "ROUNDS", "SETTINGS", "breaker_at")

NAME = "payments-api"
SETTINGS: dict[str, Any] = {"minimum_calls": 4, "half_open_permits": 1, "open_duration": 0.5, "permit_lease": 1.0}
RACERS, ROUNDS = 16, 100


def breaker_at(url: Any, **settings: Any) -> CircuitBreaker:
    """The circuit, by way of this Redis."""
    return CircuitBreaker(NAME, redis=url, **{**SETTINGS, **settings})


def _say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def race(url: str) -> None:
    """All racers ask for the only place at once, in every round; prints how many got it in each."""
    context = multiprocessing.get_context("fork")
    gate, admitted = context.Barrier(RACERS + 1), context.Value("i", 0)
    racers = [context.Process(target=_racer, args=(url, gate, admitted), daemon=True) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    breaker, counts = breaker_at(url, permit_lease=60), []
    for _ in range(ROUNDS):
        breaker.force_open()
        breaker.half_open()
        admitted.value = 0
        gate.wait(60)
        gate.wait(60)
        counts.append(admitted.value)
    _say(counts)


def _racer(url: str, gate: Any, admitted: Any) -> None:
    breaker = breaker_at(url, freshness=0, permit_lease=60)
    for _ in range(ROUNDS):
        gate.wait(60)
        permit = breaker.try_acquire()
        if permit is not None:
            with admitted.get_lock():
                admitted.value += 1
        gate.wait(60)
        if permit is not None:
            permit.release()


def hold(url: str) -> None:
    """Take a place, say so, and never give it back."""
    permit = breaker_at(url).try_acquire()
    _say(permit is not None)
    time.sleep(600)


def count(url: str) -> None:
    """Ten successes, and an end in order before anybody asks for them."""
    breaker = breaker_at(url, freshness=3600)
    for _ in range(10):
        breaker.call(int)
    _say(10)


def fork(url: str) -> None:
    """Five successes that are not reported yet, and a child that ends in order with two of its own."""
    breaker = breaker_at(url, freshness=3600)
    inherited = breaker.acquire()
    for _ in range(5):
        breaker.call(int)
    child = os.fork()
    if child == 0:
        for _ in range(2):
            breaker.call(int)
        inherited.failure()
        sys.exit(0)
    os.waitpid(child, 0)
    _say(7)


def greenlets(url: str) -> None:
    """Fifty greenlets, each in two blocks of the circuit at once, changing over within them."""
    import gevent

    breaker = breaker_at(url)

    def visit() -> None:
        with breaker:
            gevent.sleep(0.01)
            with breaker:
                gevent.sleep(0.01)

    gevent.joinall([gevent.spawn(visit) for _ in range(50)], raise_error=True)
    _say(breaker.metrics().calls)


if __name__ == "__main__":
    if sys.argv[1] == "greenlets":
        from gevent import monkey

        monkey.patch_all()
    {"race": race, "hold": hold, "count": count, "fork": fork, "greenlets": greenlets}[sys.argv[1]](sys.argv[2])
