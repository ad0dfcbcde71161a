"""Processes, threads, executors, locks, event loops; and Celery's own machinery."""

from __future__ import annotations

import signal
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of, number
from celery_recovery.errors.retry_after import seconds
from celery_recovery.errors.rules.rule import Answer, Family, Through, Verdict, each, permanent, transient

__all__ = ("FAMILY",)

_B, _F, _M, _N, _P, _S, _V = (
    ErrorType.BUSINESS_LOGIC,
    ErrorType.FILESYSTEM,
    ErrorType.MEMORY,
    ErrorType.NETWORK,
    ErrorType.PARSING,
    ErrorType.SYSTEM,
    ErrorType.VALIDATION,
)
_HIGH = ErrorSeverity.HIGH
_PASSING = transient(_S)
_WAITED = transient(_S, "timeout")
_MISUSE = permanent(ErrorType.UNKNOWN)
_LOST = transient(_N)


def _exit_status(code: int | None) -> Verdict:
    """By a child's exit status: killed from outside passes, "not found" and "not executable" do not."""
    if code is None:
        return permanent(_S)
    if code < 0 or code in (128 + signal.SIGKILL, 128 + signal.SIGTERM):
        number_ = -code if code < 0 else code - 128
        crash = number_ in (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGBUS)
        return Verdict(_S, not crash, f"signal {number_}", rule="exit.signal", severity=_HIGH)
    # 126, 127: POSIX sh 2.8.2. 75: sysexits.h, EX_TEMPFAIL.
    return Verdict(_S, code == 75, f"exit {code}")


def _called_process(exc: Any) -> Answer:
    for name in ("returncode", "exit_code", "retcode", "exitcode", "exit_status"):
        code = number(attr(exc, name))
        if code is not None:
            return _exit_status(code)
    return permanent(_S)


def _last_attempt(exc: Any) -> Answer:
    """Retry libraries: the last attempt failed with an exception, or its result was not accepted."""
    attempt = attr(exc, "last_attempt")
    inner = attr(attempt, "_exception")
    value = attr(attempt, "value")
    if inner is None and isinstance(value, tuple) and len(value) == 3:
        inner = value[1]
    return Through(inner if isinstance(inner, BaseException) else cause_of(exc), _PASSING)


def _held(name: str) -> Any:
    """A look through the attribute that holds the real exception."""

    def look(exc: Any) -> Answer:
        inner = attr(exc, name)
        return Through(inner if isinstance(inner, BaseException) else cause_of(exc), _PASSING)

    return look


def _celery_retry(exc: Any) -> Answer:
    inner = attr(exc, "exc")
    wait = seconds(attr(exc, "when"))
    return Through(inner if isinstance(inner, BaseException) else None, transient(_S, retry_after=wait))


def _broker_trouble(exc: Any) -> Answer:
    return Through(cause_of(exc), _LOST)


def _open_circuit(exc: Any) -> Answer:
    """A breaker is open; some libraries say for how long."""
    breaker = attr(exc, "_circuit_breaker")
    for holder, name in (
        (breaker, "open_remaining"),
        (exc, "time_remaining"),
        (exc, "reopen_time"),
        (exc, "remaining"),
    ):
        wait = seconds(attr(holder, name)) if holder is not None else None
        if wait is not None:
            return transient(_S, "circuit open", retry_after=wait)
    return transient(_S, "circuit open")


def _rate_limited(exc: Any) -> Answer:
    """Client-side limiters say how long until there is room."""
    wait = seconds(attr(exc, "period_remaining"))
    meta = attr(exc, "meta_info")
    if wait is None and isinstance(meta, dict):
        wait = seconds(meta.get("remaining_time"))
    return transient(_S, "rate limit", retry_after=wait)


def _unpickleable(exc: Any) -> Answer:
    """Celery sends the names of a class that cannot be pickled: judge what bears them."""
    module, name = attr(exc, "exc_module"), attr(exc, "exc_cls_name")
    if not (isinstance(module, str) and isinstance(name, str)):
        return None
    double = type(name, (Exception,), {"__module__": module, "__qualname__": name})
    return Through(double(*(attr(exc, "exc_args") or ())), permanent(_S))


FAMILY = Family(
    name="processes",
    classes={
        # Children
        "subprocess.CalledProcessError": _called_process,
        "subprocess.TimeoutExpired": _WAITED,
        "subprocess.SubprocessError": permanent(_S),
        "sh.ErrorReturnCode": _called_process,
        "sh.SignalException": _called_process,
        "sh.TimeoutException": _WAITED,
        "sh.CommandNotFound": permanent(_S),
        "plumbum.commands.processes.ProcessExecutionError": _called_process,
        "plumbum.commands.processes.ProcessTimedOut": _WAITED,
        "plumbum.commands.processes.CommandNotFound": permanent(_S),
        **each("plumbum.machines.session", "SSHCommsError ShellSessionError", _LOST),
        **each("plumbum.machines.session", "IncorrectLogin HostPublicKeyUnknown", permanent(_N, severity=_HIGH)),
        "pexpect.exceptions.TIMEOUT": _WAITED,
        "pexpect.exceptions.EOF": permanent(_S),
        **each("psutil", "NoSuchProcess AccessDenied", permanent(_S)),
        "psutil.TimeoutExpired": _WAITED,
        **each("psutil._exceptions", "NoSuchProcess AccessDenied", permanent(_S)),
        # Threads, executors
        **each("concurrent.futures._base", "CancelledError BrokenExecutor TimeoutError", _PASSING),
        **each("concurrent.futures.process", "BrokenProcessPool", transient(_S, severity=_HIGH)),
        "concurrent.futures.thread.BrokenThreadPool": permanent(_S),
        "concurrent.futures._base.InvalidStateError": _MISUSE,
        **each("queue", "Full Empty ShutDown", _PASSING),
        "_queue.Empty": _PASSING,
        "threading.BrokenBarrierError": _PASSING,
        "_frozen_importlib._DeadlockError": _PASSING,
        "multiprocessing.context.TimeoutError": _WAITED,
        "multiprocessing.context.BufferTooShort": permanent(_V),
        "multiprocessing.context.AuthenticationError": permanent(_S, severity=_HIGH),
        "multiprocessing.context.ProcessError": permanent(_S),
        **each("multiprocessing.pool", "MaybeEncodingError", permanent(_P)),
        **each("pebble.common.types", "ProcessExpired", transient(_S, severity=_HIGH)),
        "pebble.*.ProcessExpired": transient(_S, severity=_HIGH),
        **each("pebble.*", "ChannelError", _PASSING),
        **each("joblib.externals.loky.process_executor", "TerminatedWorkerError BrokenProcessPool", _PASSING),
        # Event loops
        "asyncio.exceptions.CancelledError": _PASSING,
        "asyncio.exceptions.TimeoutError": transient(_N, "ETIMEDOUT"),
        "asyncio.exceptions.IncompleteReadError": _LOST,
        "asyncio.exceptions.LimitOverrunError": permanent(_P),
        "asyncio.exceptions.InvalidStateError": _MISUSE,
        "asyncio.exceptions.BrokenBarrierError": _PASSING,
        "asyncio.exceptions.SendfileNotAvailableError": permanent(_S),
        **each("asyncio.queues", "QueueFull QueueEmpty QueueShutDown", _PASSING),
        "anyio.*.ConnectionFailed": _broker_trouble,
        **each("anyio.*", "BrokenResourceError EndOfStream IncompleteRead ClosedResourceError", _LOST),
        **each("anyio.*", "WouldBlock BusyResourceError BrokenWorkerProcess BrokenWorkerInterpreter", _PASSING),
        "anyio.*.DelimiterNotFound": permanent(_P),
        **each("trio", "BrokenResourceError EndOfChannel ClosedResourceError", _LOST),
        **each("trio", "TooSlowError", transient(_N, "ETIMEDOUT")),
        **each("trio", "WouldBlock BusyResourceError Cancelled", _PASSING),
        **each("trio", "RunFinishedError TrioInternalError NeedHandshakeError", _MISUSE),
        "gevent.timeout.Timeout": _WAITED,
        "eventlet.timeout.Timeout": _WAITED,
        **each("gevent.exceptions", "LoopExit ConcurrentObjectUseError BlockingSwitchOutError", _MISUSE),
        "gevent.*.cancel_wait_ex": _LOST,
        "eventlet.green.http.client.HTTPException": _LOST,
        "gevent._fileobjectcommon.FileObjectClosed": permanent(_F),
        "greenlet.GreenletExit": _PASSING,
        **each("greenlet", "error", _MISUSE),
        "eventlet.hubs.IOClosed": _LOST,
        "async_timeout.TimeoutError": transient(_N, "ETIMEDOUT"),
        # Retry libraries, breakers, limiters, locks
        "tenacity.RetryError": _last_attempt,
        "tenacity.TryAgain": _PASSING,
        "retrying.RetryError": _last_attempt,
        "retry.*.RetryError": _last_attempt,
        **each("pybreaker", "CircuitBreakerError", _open_circuit),
        **each("circuitbreaker", "CircuitBreakerError", _open_circuit),
        "aiobreaker.state.CircuitBreakerError": _open_circuit,
        **each("purgatory.domain.model", "OpenedState", _open_circuit),
        "purgatory.*.OpenedState": _open_circuit,
        **each("lasier.circuit_breaker.sync", "CircuitBreakerError", _open_circuit),
        "ratelimit.exception.RateLimitException": _rate_limited,
        "pyrate_limiter.*.BucketFullException": _rate_limited,
        "pyrate_limiter.*.LimiterDelayException": _rate_limited,
        "filelock.*.Timeout": _WAITED,
        "filelock.*.SoftFileLockProtocolError": permanent(_F),
        **each("portalocker.exceptions", "LockException AlreadyLocked LockLostError", transient(_S, "locked")),
        "portalocker.exceptions.FileToLarge": permanent(_F),
        **each("fasteners.*", "LockTimeout", _WAITED),
        **each("zc.lockfile", "LockError", transient(_S, "locked")),
        # billiard, celery (kombu: see amqp)
        **each(
            "billiard.exceptions",
            "SoftTimeLimitExceeded TimeLimitExceeded",
            transient(_S, "time limit", severity=_HIGH),
        ),
        **each("billiard.exceptions", "WorkerLostError Terminated RestartFreqExceeded", transient(_S, severity=_HIGH)),
        "billiard.exceptions.CoroStop": _PASSING,
        **each("billiard.exceptions", "TimeoutError", _WAITED),
        "billiard.pool.MaybeEncodingError": permanent(_P),
        "billiard.pool.WorkersJoined": _PASSING,
        "billiard.einfo.ExceptionWithTraceback": _held("exc"),
        "celery.exceptions.CeleryError": permanent(_S),
        "celery.exceptions.TimeoutError": _WAITED,
        "celery.exceptions.Retry": _celery_retry,
        **each("celery.exceptions", "Ignore Reject", permanent(_S)),
        "celery.exceptions.TaskRevokedError": permanent(_S),
        **each("celery.exceptions", "NotRegistered QueueNotFound", permanent(_S, severity=_HIGH)),
        **each(
            "celery.exceptions", "ImproperlyConfigured SecurityError AlreadyRegistered", permanent(_S, severity=_HIGH)
        ),
        "celery.exceptions.InvalidTaskError": permanent(_V),
        "celery.exceptions.IncompleteStream": _PASSING,
        "celery.exceptions.MaxRetriesExceededError": lambda exc: Through(cause_of(exc), permanent(_S)),
        "celery.exceptions.ChordError": lambda exc: Through(cause_of(exc), permanent(_S)),
        **each("celery.exceptions", "BackendError BackendGetMetaError BackendStoreError", _PASSING),
        **each("celery.exceptions", "WorkerShutdown WorkerTerminate", _PASSING),
        "celery.utils.serialization.UnpickleableExceptionWrapper": _unpickleable,
        "celery.platforms.LockFailed": transient(_S, "locked"),
        "celery.beat.SchedulingError": lambda exc: Through(cause_of(exc), _PASSING),
    },
)
