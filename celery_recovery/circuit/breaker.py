"""`CircuitBreaker`: what user code and tasks go through on their way to one dependency.

    payments = CircuitBreaker("payments-api", redis="redis://localhost/0", failure_rate_threshold=0.3)

    with payments:                        # raises CircuitOpen while it is open
        requests.post(...)

    @payments                             # the same, around every call of a function
    def charge(order_id): ...

    permit = payments.acquire()           # the same by hand: exactly one of success, failure, record, release counts
    try:
        ...
    except BaseException as exc:
        permit.record(exc)
        raise
    permit.success()

Without `redis` each process has a circuit of its own; with it all processes share one, and each answers for itself
what it can know (`shared.py`). While Redis is away each process has its own, with the same policy.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from celery_recovery.circuit.local import LocalCircuit
from celery_recovery.circuit.machine import Change
from celery_recovery.circuit.permit import Circuit, Permit, Terms
from celery_recovery.circuit.policy import CircuitPolicy, circuit_name
from celery_recovery.circuit.state import CircuitEvent, CircuitState
from celery_recovery.circuit.verdict import Errors, judge_by
from celery_recovery.circuit.view import CircuitView
from celery_recovery.exceptions import CircuitOpen, ConfigurationError, as_seconds

if TYPE_CHECKING:
    from redis import Redis

__all__ = ("CircuitBreaker",)

logger = logging.getLogger("celery_recovery")

_LOUD = (CircuitState.OPEN, CircuitState.FORCED_OPEN)

P = ParamSpec("P")
R = TypeVar("R")

#: Flags of code whose call only makes an object: the work, and its failure, come later.
_LATER = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE

#: The `with` blocks that this thread or greenlet is in: (breaker, permit, the blocks around it).
_Blocks = tuple["CircuitBreaker", Permit, Any]
_blocks: ContextVar[_Blocks | None] = ContextVar("celery_recovery_circuits", default=None)


class CircuitBreaker:
    """One circuit. Safe in threads, greenlets and forked processes; no lock is held while a call runs.

    `policy`, or the fields of one as keywords, say when it opens. `record` says which errors are failures and `ignore`
    which say nothing (types, or a callable that takes the error); other errors are successes. `clock` is what time is
    measured on in this process; Redis has its own. `on_transition(breaker, change)` is called by the process whose call
    brought the transition about.

    Raises ConfigurationError for a name that is empty, longer than 200 characters or has spaces, control characters or
    braces, and for any option that makes no sense.
    """

    def __init__(  # noqa: PLR0913  # each is an option with a name
        self,
        name: str,
        policy: CircuitPolicy | Mapping[str, Any] | None = None,
        *,
        redis: Redis | str | None = None,
        prefix: str = "celery-recovery",
        record: Errors = (Exception,),
        ignore: Errors = (),
        host: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_transition: Callable[[CircuitBreaker, Change], None] | None = None,
        **settings: Any,
    ) -> None:
        self.name = circuit_name(name, "circuit.name")
        self.policy = CircuitPolicy.of(policy).replace(**settings)
        self.on_transition = _callable(on_transition, "on_transition") if on_transition is not None else None
        epoch = time.time() - clock() if clock is time.monotonic else 0.0
        judge = judge_by(record, ignore)
        terms = Terms(self.name, self.policy, _callable(clock, "clock"), judge, self._transitions, epoch)
        self._circuit: Circuit = LocalCircuit(terms) if redis is None else _shared(terms, redis, prefix, host)

    # -- calls

    def acquire(self) -> Permit:
        """Leave to make one call. Raises `CircuitOpen`."""
        answer = self._circuit.admit()
        if type(answer) is Permit:
            return answer
        raise CircuitOpen(self.name, answer.retry_after, answer.state.value)  # type: ignore[union-attr]

    def try_acquire(self) -> Permit | None:
        """Leave to make one call, or None."""
        answer = self._circuit.admit()
        return answer if isinstance(answer, Permit) else None

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(*args, **kwargs)`, through the circuit. Raises `CircuitOpen`, and what the function raises.

        Raises ConfigurationError for an async function or a generator: its call does nothing yet that could fail.
        """
        code = getattr(function, "__code__", None)
        if code is None or code.co_flags & _LATER:
            _at_once(function)
        permit = self.acquire()
        try:
            result = function(*args, **kwargs)
        except BaseException as exc:
            permit.record(exc)
            raise
        permit.success()
        return result

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """As a decorator: each call of the function goes through the circuit."""
        _at_once(function)

        @functools.wraps(function)
        def through(*args: P.args, **kwargs: P.kwargs) -> R:
            return self.call(function, *args, **kwargs)

        return through

    def __enter__(self) -> Permit:
        permit = self.acquire()
        _blocks.set((self, permit, _blocks.get()))
        return permit

    def __exit__(self, _: type[BaseException] | None, exc: BaseException | None, __: TracebackType | None) -> None:
        permit, rest = _left(self, _blocks.get())
        _blocks.set(rest)
        permit.record(exc)

    # -- what can be seen

    @property
    def state(self) -> CircuitState:
        """The state now; a shared one is asked for. While Redis is away: that of this process."""
        return self._circuit.look().state

    def metrics(self) -> CircuitView:
        """All that can be seen of it; while it is open, the figures that opened it."""
        return _with_figures(self._circuit.view())

    # -- by hand. Each raises `StoreUnavailable` where the circuit is shared and Redis away

    def force_open(self, seconds: float | None = None, reason: str = "") -> None:
        """Refuse all calls for `seconds`, then probe; None: until somebody says otherwise."""
        lasts = None if seconds is None else as_seconds(seconds, "circuit.force_open.seconds")
        self._circuit.set(CircuitEvent.FORCE_OPEN, lasts, reason)

    def close(self, reason: str = "") -> None:
        """Let calls through again, and count from nothing."""
        self._circuit.set(CircuitEvent.CLOSE, None, reason)

    def half_open(self, reason: str = "") -> None:
        """Probe now. Raises `IllegalTransition` while it is closed."""
        self._circuit.set(CircuitEvent.HALF_OPEN, None, reason)

    def disable(self, reason: str = "") -> None:
        """Let calls through, whatever happens, and count nothing."""
        self._circuit.set(CircuitEvent.DISABLE, None, reason)

    def reset(self, reason: str = "") -> None:
        """As if it had never been used."""
        self._circuit.set(CircuitEvent.RESET, None, reason)

    def flush(self) -> None:
        """Report the successes that are counted and not yet reported. It happens by itself when a process ends."""
        self._circuit.flush()

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r}>"

    def _transitions(self, changes: tuple[Change, ...]) -> None:
        """Log each, and tell who wants to know; whoever raises there disturbs no call."""
        for change in changes:
            where = f"{self.name} on {change.scope}" if change.scope else self.name
            figures = ", ".join(f"{what} {value}" for what, value in change.detail.items() if value not in ("", None))
            logger.log(
                logging.WARNING if change.after in _LOUD else logging.INFO,
                "circuit %s: %s -> %s, %s%s", where, change.before, change.after, change.cause,
                f" ({figures})" if figures else "",
                extra={"action": "circuit_changed", "circuit": self.name, "before": change.before.value,
                       "after": change.after.value, "cause": change.cause.value, "scope": change.scope,
                       "generation": change.generation},
            )  # fmt: skip
            if self.on_transition is None:
                continue
            try:
                self.on_transition(self, change)
            except Exception:
                logger.exception(
                    "circuit %s: on_transition raised", self.name,
                    extra={"action": "circuit_listener_failed", "circuit": self.name},
                )  # fmt: skip


def _shared(terms: Terms, redis: Any, prefix: str, host: str | None) -> Circuit:
    from celery_recovery.circuit.shared import SharedCircuit  # a circuit of one process needs no redis-py

    return SharedCircuit.of(terms, redis, prefix, host)


def _callable(value: Any, option: str) -> Any:
    if callable(value):
        return value
    raise ConfigurationError.of(f"circuit.{option}", expected="a callable", got=value)


def _at_once(function: Any) -> None:
    """Refuse what does its work later."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not callable(inner):
        raise ConfigurationError.of("circuit.call", expected="a function", got=function)
    for one in (inner, type(inner).__call__):
        code = getattr(one, "__code__", None)
        if code is not None and code.co_flags & _LATER:
            hint = "Use acquire() in the body, where the work is done."
            expected = "a plain function, neither async nor a generator"
            raise ConfigurationError.of("circuit.call", expected=expected, got=function, hint=hint)


def _left(breaker: CircuitBreaker, blocks: _Blocks | None) -> tuple[Permit, _Blocks | None]:
    """The permit of the innermost block of this breaker, and the blocks without it."""
    if blocks is None:
        raise RuntimeError(f"{breaker!r} is left in a thread or context where it was not entered")
    found, permit, rest = blocks
    if found is breaker:
        return permit, rest
    inner, left = _left(breaker, rest)
    return inner, (found, permit, left)


def _with_figures(view: CircuitView) -> CircuitView:
    """Its window is empty once it is open: what opened it says more."""
    latest = view.history[0] if view.history else None
    if view.state is not CircuitState.OPEN or latest is None or "calls" not in latest.detail:
        return view
    return replace(view, **{name: latest.detail[name] for name in ("calls", "failed", "slow")})
