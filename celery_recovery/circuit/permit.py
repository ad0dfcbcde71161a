"""`Permit`: one call that was let through, which says once how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from celery_recovery.circuit.machine import Answer, Change
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.circuit.state import CircuitEvent
from celery_recovery.circuit.verdict import Judge, Verdict
from celery_recovery.circuit.view import CircuitView

__all__ = ("Circuit", "Permit", "Terms")

logger = logging.getLogger("celery_recovery")


@dataclass(frozen=True, slots=True)
class Terms:
    """What one circuit is made of, wherever its state is kept."""

    name: str
    policy: CircuitPolicy
    #: Seconds of a clock that does not go back.
    clock: Callable[[], float]
    judge: Judge
    #: Told of transitions, never under a lock; does not raise.
    tell: Callable[[tuple[Change, ...]], None]
    #: Added to the clock it gives the times that people see (unix seconds, unless a clock was given).
    epoch: float = 0.0


class Circuit(Protocol):
    """Where permits come from and go back to: `LocalCircuit` or `SharedCircuit`."""

    terms: Terms

    def admit(self) -> Permit | Answer:
        """A permit, or the answer that refuses it."""

    def end(self, permit: Permit, calls: int, failed: int, took: float | None) -> None:
        """The call has ended, after `took` seconds (None: now); with no calls its place is given back."""

    def abandon(self, permit: Permit) -> None:
        """The permit was dropped without a word. Called by the garbage collector: it must not take a lock."""

    def look(self) -> Answer:
        """What the circuit says of itself now, all successes counted."""

    def view(self) -> CircuitView:
        """All that can be seen of it."""

    def set(self, event: CircuitEvent, seconds: float | None, reason: str) -> None:
        """By hand. Raises `IllegalTransition`."""

    def flush(self) -> None:
        """Report what is counted and not yet reported."""


class Permit:
    """Leave to make one call. One of `success`, `failure`, `record` and `release` counts; what comes later does not.

    It measures how long the call takes, from when it was given; `duration` (seconds) says otherwise. A permit that is
    dropped without a word is given back.
    """

    __slots__ = ("_ended", "_of", "generation", "scope", "started", "token")

    def __init__(self, of: Circuit, generation: int, started: float, token: str = "", scope: str = "") -> None:
        self._of = of
        self._ended = False
        self.generation = generation
        #: On the circuit's clock.
        self.started = started
        #: Under which a probe holds its place; empty: it is no probe.
        self.token = token
        self.scope = scope

    @property
    def circuit(self) -> str:
        """The circuit's name."""
        return self._of.terms.name

    @property
    def ended(self) -> bool:
        """True once it was said how the call ended."""
        return self._ended

    def success(self, duration: float | None = None) -> None:
        """The call succeeded."""
        if not self._ended:
            self._of.end(self, 1, 0, duration)

    def failure(self, exc: BaseException | None = None, duration: float | None = None) -> None:  # noqa: ARG002
        """The call failed; whatever `exc` is, it counts."""
        if not self._ended:
            self._of.end(self, 1, 1, duration)

    def record(self, exc: BaseException | None = None, duration: float | None = None) -> None:
        """The call ended with `exc`, or without; what the circuit records and ignores decides what it counts as."""
        if self._ended:
            return
        verdict = Verdict.SUCCESS if exc is None else self._judged(exc)
        if verdict is Verdict.NOTHING:
            self.release()
        else:
            self._of.end(self, 1, int(verdict is Verdict.FAILURE), duration)

    def release(self) -> None:
        """The call was not made, or says nothing about the dependency."""
        if not self._ended:
            self._of.end(self, 0, 0, 0.0)

    def close_once(self) -> bool:
        """True for the first who asks; for circuits, under their lock."""
        first, self._ended = not self._ended, True
        return first

    def _judged(self, exc: BaseException) -> Verdict:
        """A callable of the user's that raises keeps no place occupied, and does not stand in for `exc`."""
        try:
            return self._of.terms.judge(exc)
        except Exception:
            logger.exception(
                "circuit %s: record or ignore raised, so that a call counts as nothing",
                self.circuit, extra={"action": "circuit_judge_failed", "circuit": self.circuit},
            )  # fmt: skip
            return Verdict.NOTHING
        except BaseException:
            self.release()
            raise

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self._of.abandon(self)

    def __repr__(self) -> str:
        kind = "probe" if self.token else "call"
        return f"<Permit {kind} of {self.circuit!r}{', ended' if self._ended else ''}>"
