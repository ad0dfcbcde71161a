"""A task and its circuits: which they are, whether they let it through, and what they are told of its end.

    circuit="payments-api"                      one dependency
    circuit=lambda order, **_: order["tenant"]  one of many, by the task's arguments; None: none for this call
    circuit=("payments-api", "ledger")          several: all have to let it through

A call that is let through has a permit of each circuit; whatever becomes of it, each permit hears of it once:

    success                     counts as one
    a failure that counts       `counts` of the policy has its error type, and it is worth a retry
                                of a probe it uses no attempt: waiting for a circuit is no fault of the task
    any other end               the permit is given back: bad data says nothing about the dependency
    its process is killed       the permit ends by itself, with its lease; a hard time limit counts as a failure

A call that is refused is parked (`on_open="park"`) until its circuit closes, without using an attempt: a message in
Redis under the circuit's name, which comes back at the circuit's pace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from billiard.exceptions import TimeLimitExceeded
from celery import Task
from celery.app.task import Context

from celery_recovery.admission import note_waiting, passage_of
from celery_recovery.decision import Reason
from celery_recovery.errors.model import ErrorInfo
from celery_recovery.exceptions import CircuitOpen, ConfigurationError, RecoveryError
from celery_recovery.history import History

if TYPE_CHECKING:
    from celery_recovery.circuit.permit import Permit
    from celery_recovery.parts import Parts

__all__ = ("circuits_of", "counted", "enter", "give_back", "succeeded")

logger = logging.getLogger("celery_recovery")

#: Seconds after which a task is shown as due whose circuit does not say when it will probe.
SOME_TIME = 60.0
#: Longest wait for an empty budget, in seconds.
LONGEST_WAIT = 300.0
_said: set[tuple[str, str]] = set()


def circuits_of(task: Task, args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """The names of the circuits that this call goes through. Never raises: a callable that does names none."""
    names: list[str] = []
    for one in task.recovery_circuits:
        name = _named(task, one, args, kwargs) if callable(one) else one
        if name is not None and name not in names:
            names.append(name)
    return names


def enter(parts: Parts, task: Task, request: Context) -> None:
    """Let the call through all circuits of the task, or park it (raises `Ignore`), or fail it (`CircuitOpen`)."""
    if not task.recovery_circuits:
        return
    permits: list[Permit] = []
    request.recovery_permits = permits
    for name in circuits_of(task, request.args or (), request.kwargs or {}):
        try:
            ahead = name in task.recovery_circuits  # a name that a callable gave nobody could know earlier
            parts.circuits.declare(name, task.recovery_circuit_policy, task.name, ahead=ahead)
            permits.append(parts.circuits.get(name).acquire())
        except CircuitOpen as exc:
            give_back(request)
            _refused(parts, task, request, exc)
        except ConfigurationError as exc:
            _say_unnamed(task.name, "name", str(exc))
    _withdraw(parts, task, request, permits)


def succeeded(request: Context) -> None:
    """The body has come to its end."""
    for permit in request.__dict__.pop("recovery_permits", ()):
        permit.success()


def counted(parts: Parts, task: Task, request: Context, exc: BaseException, info: ErrorInfo) -> None:
    """The attempt has failed: tell those circuits to which its error means something, and give back the other permits.

    In a worker's main process there is no permit, its child had that: of the ends that are seen there, the hard time
    limit says that something did not answer.
    """
    permits = request.__dict__.pop("recovery_permits", None)
    if permits is None and isinstance(exc, TimeLimitExceeded):
        permits = _permits_for(parts, task, request)
    for permit in permits or ():
        policy = parts.circuits.policy(permit.circuit)
        ours = isinstance(exc, RecoveryError)  # our Redis is away, not what the task depends on
        if info.error_type in policy.counts and info.is_retryable and not ours:
            permit.failure(exc)
            if permit.token:
                request.recovery_probe = permit.circuit
        else:
            permit.release()


def give_back(request: Context) -> None:
    """The call has ended in a way that says nothing about anybody."""
    for permit in request.__dict__.pop("recovery_permits", ()):
        permit.release()


# -- what is declared


def _named(task: Task, of: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> str | None:
    try:
        name = of(*args, **kwargs)
    except Exception as exc:  # noqa: BLE001  # the user's code: it may raise anything
        kind = type(exc).__name__
        _say_unnamed(task.name, kind, f"its callable raised {kind}: {exc}")
        return None
    if name is None or isinstance(name, str):
        return name
    kind = type(name).__name__
    _say_unnamed(task.name, kind, f"its callable gave {kind} where a name or None was expected")
    return None


def _say_unnamed(task: str, kind: str, why: str) -> None:
    """The task runs without that circuit. Once for each task and kind of reason: the text may have its arguments."""
    if (task, kind) not in _said:
        _said.add((task, kind))
        logger.error("task %s runs without a circuit: %s", task, why, extra={"action": "circuit_unnamed", "task": task})


# -- refused


def _refused(parts: Parts, task: Task, request: Context, exc: CircuitOpen) -> None:
    on_open = task.circuit_on_open or parts.circuits.policy(exc.circuit).on_open
    if on_open != "park" or request.is_eager:
        request.recovery_refused = (Reason.CIRCUIT, on_open)
        raise exc
    # Shown as due when the circuit probes, not all at one moment; they come back at the circuit's own pace.
    seconds = (exc.retry_after if exc.retry_after is not None else SOME_TIME) * parts.random.uniform(1.0, 1.25)
    _park(parts, task, request, seconds, "circuit", exc.circuit)


def _withdraw(parts: Parts, task: Task, request: Context, permits: list[Permit]) -> None:
    """A retry takes from the budget of each circuit, any other call pays in."""
    for permit in permits:
        budget = parts.circuits.budget(permit.circuit)
        if budget is None:
            continue
        if not request.retries:
            budget.deposit()
        elif not budget.withdraw():
            give_back(request)
            _empty(parts, task, request, permit.circuit)


def _empty(parts: Parts, task: Task, request: Context, name: str) -> None:
    """Out of retries: it waits, each time twice as long, for others wait too."""
    on_empty = parts.circuits.policy(name).on_empty
    if on_empty != "park" or request.is_eager:
        request.recovery_refused = (Reason.BUDGET, on_empty)
        raise CircuitOpen(name, None, "out of retries")
    history = History.from_header(request.__dict__.get("recovery"))
    first = max(history.last_delay or 0.0, parts.circuits.policy(name).window)
    wait = min(first * 2.0 ** min(history.deferrals, 20), LONGEST_WAIT)
    _park(parts, task, request, wait * parts.random.uniform(0.5, 1.5), "budget", "")


def _park(parts: Parts, task: Task, request: Context, seconds: float, reason: str, circuit: str) -> None:
    """Park it, and leave with `Ignore`; where it cannot be parked it is put off by the broker."""
    passage = passage_of(request)
    note_waiting(parts, request, passage)
    request.recovery_outcome = parts.actions.park(parts.parked, task, request, passage, seconds, reason, circuit)
    parts.stats.waits(task.name, reason, circuit)
    raise request.recovery_outcome


def _permits_for(parts: Parts, task: Task, request: Context) -> list[Permit]:
    names = circuits_of(task, request.args or (), request.kwargs or {})
    try:
        permits = [parts.circuits.get(name).try_acquire() for name in names]
    except ConfigurationError:
        return []
    return [permit for permit in permits if permit is not None]
