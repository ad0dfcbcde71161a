"""The operating system: errno, as the number says, whatever class carries it."""

from __future__ import annotations

import errno
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr
from celery_recovery.errors.rules.rule import Family, Look, Verdict, permanent, transient

__all__ = ("FAMILY", "by_errno")

_N, _F, _M, _S, _V = (
    ErrorType.NETWORK,
    ErrorType.FILESYSTEM,
    ErrorType.MEMORY,
    ErrorType.SYSTEM,
    ErrorType.VALIDATION,
)
_HIGH, _CRITICAL = ErrorSeverity.HIGH, ErrorSeverity.CRITICAL

# Names, not numbers: they differ between systems, and not every system has each.
_TABLE: tuple[tuple[ErrorType, bool, ErrorSeverity | None, str], ...] = (
    # The peer or the way to it: gone, slow, refusing.
    (
        _N,
        True,
        None,
        """ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ESHUTDOWN ETIMEDOUT EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN
        ENETRESET ENOTCONN ENOLINK ECOMM EADDRINUSE EADDRNOTAVAIL EREMOTEIO ENONET ETIME EINPROGRESS EALREADY
        ESTRPIPE""",
    ),
    (
        _N,
        False,
        None,
        """EMSGSIZE EPROTONOSUPPORT EPROTOTYPE EAFNOSUPPORT EPFNOSUPPORT ESOCKTNOSUPPORT ENOPROTOOPT EDESTADDRREQ
        EISCONN
        ENOTSOCK EPROTO""",
    ),
    # Pressure on this process or machine that clears as others finish.
    (_S, True, None, "EAGAIN EWOULDBLOCK EINTR EDEADLK EDEADLOCK ENOLCK EUSERS ECANCELED ERESTART"),
    (_S, True, _HIGH, "EMFILE ENFILE"),
    (_M, True, _HIGH, "ENOMEM ENOBUFS"),
    (_F, True, None, "EBUSY ETXTBSY ESTALE"),
    (_F, True, _HIGH, "EIO"),
    (_F, True, _CRITICAL, "ENOSPC EDQUOT"),
    # Files and directories that are not what was expected.
    (
        _F,
        False,
        None,
        "ENOENT EEXIST EISDIR ENOTDIR ENOTEMPTY ELOOP ENAMETOOLONG EXDEV EFBIG EMLINK ESPIPE EBADF ENOTBLK ENOTTY",
    ),
    (_F, False, _HIGH, "EACCES EPERM EROFS ENODEV ENXIO EUCLEAN EMEDIUMTYPE ENOMEDIUM"),
    (_S, False, None, "ENOSYS ENOTSUP EOPNOTSUPP ECHILD ESRCH ENOEXEC ELIBACC ELIBBAD ENOKEY EKEYEXPIRED EKEYREJECTED"),
    (_V, False, None, "EINVAL E2BIG EFAULT EDOM ERANGE EILSEQ EOVERFLOW EBADMSG ENODATA ENOMSG"),
)
_BY_NUMBER: dict[int, Verdict] = {}
for _type, _retry, _severity, _names in _TABLE:
    for _name in _names.split():
        _number = getattr(errno, _name, None)
        if _number is not None and _number not in _BY_NUMBER:
            _code = errno.errorcode.get(_number, _name)
            _BY_NUMBER[_number] = Verdict(
                _type, _retry, _code, severity=_severity, rule=f"errno.{_code}", context={"errno": _number}
            )

# Classes that Python gives to an errno also stand for it when the number is missing.
_BY_CLASS = {
    "BlockingIOError": transient(_S, "EAGAIN"),
    "BrokenPipeError": transient(_N, "EPIPE"),
    "ChildProcessError": permanent(_S, "ECHILD"),
    "ConnectionAbortedError": transient(_N, "ECONNABORTED"),
    "ConnectionError": transient(_N),
    "ConnectionRefusedError": transient(_N, "ECONNREFUSED"),
    "ConnectionResetError": transient(_N, "ECONNRESET"),
    "FileExistsError": permanent(_F, "EEXIST"),
    "FileNotFoundError": permanent(_F, "ENOENT"),
    "InterruptedError": transient(_S, "EINTR"),
    "IsADirectoryError": permanent(_F, "EISDIR"),
    "NotADirectoryError": permanent(_F, "ENOTDIR"),
    "PermissionError": permanent(_F, "EACCES", severity=_HIGH),
    "ProcessLookupError": permanent(_S, "ESRCH"),
    "TimeoutError": transient(_N, "ETIMEDOUT"),
}


def by_errno(number: Any) -> Verdict | None:
    """The verdict on an errno value of this system; None when it says nothing."""
    return _BY_NUMBER.get(number) if type(number) is int else None


def _os_error(exc: Any) -> Verdict | None:
    return by_errno(attr(exc, "errno"))


def _by_class(verdict: Verdict) -> Look:
    """The class's verdict, unless its number is another one (EPERM and EACCES share PermissionError)."""

    def look(exc: Any) -> Verdict:
        found = by_errno(attr(exc, "errno"))
        return verdict if found is None or found.code == verdict.code else found

    return look


FAMILY = Family(
    name="os",
    classes={
        "builtins.OSError": _os_error,
        **{f"builtins.{name}": _by_class(verdict) for name, verdict in _BY_CLASS.items()},
    },
)
