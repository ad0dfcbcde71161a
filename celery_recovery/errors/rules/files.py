"""File trees behind an interface: shutil, PyFilesystem, fsspec, Git, package databases.

What the operating system says stands first: an errno decides before the class that carries it.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of, text_of
from celery_recovery.errors.rules.naming import exactly, within
from celery_recovery.errors.rules.os import by_errno
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_HIGH, _CRITICAL = ErrorSeverity.HIGH, ErrorSeverity.CRITICAL
_BAD_FILE = permanent(ErrorType.FILESYSTEM)
_LOCKED = transient(ErrorType.FILESYSTEM)
_FULL_DISK = transient(ErrorType.FILESYSTEM, severity=_CRITICAL)
_REFUSED = permanent(ErrorType.VALIDATION)
_UNREADABLE = permanent(ErrorType.PARSING)
_LOST = transient(ErrorType.NETWORK)
_DENIED = permanent(ErrorType.NETWORK, severity=_HIGH)
_NO_PROGRAM = permanent(ErrorType.SYSTEM, severity=_HIGH)
_CONFLICT = permanent(ErrorType.BUSINESS_LOGIC)

# What git and libgit2 print (they have exit code 128 for nearly everything), in lower case.
_GIT: tuple[tuple[str, Verdict], ...] = (
    ("authentication failed", _DENIED),
    ("permission denied", _DENIED),
    ("could not read username", _DENIED),
    ("host key verification failed", _DENIED),
    ("certificate", _DENIED),
    ("could not resolve host", _LOST),
    ("failed to resolve address", _LOST),
    ("failed to connect", _LOST),
    ("could not connect", _LOST),
    ("connection refused", _LOST),
    ("connection reset", _LOST),
    ("timed out", _LOST),
    ("timeout", _LOST),
    ("early eof", _LOST),
    ("hung up unexpectedly", _LOST),
    ("rpc failed", _LOST),
    ("returned error: 5", _LOST),
    ("returned error: 429", _LOST),
    (".lock", _LOCKED),
    ("cannot lock ref", _LOCKED),
    ("no space left", _FULL_DISK),
    ("not a git repository", _BAD_FILE),
    ("repository not found at", _BAD_FILE),
    ("repository not found", _REFUSED),
    ("does not appear to be a git repository", _REFUSED),
    ("does not exist", _REFUSED),
    ("already exists", _BAD_FILE),
    ("did not match any", _REFUSED),
    ("unknown revision", _REFUSED),
    ("not a valid object", _REFUSED),
    ("conflict", _CONFLICT),
    ("rejected", _CONFLICT),
    ("non-fast-forward", _CONFLICT),
    ("corrupt", _UNREADABLE),
    ("not found", _REFUSED),
)


def _git(exc: Any) -> Verdict:
    said = attr(exc, "stderr") or text_of(exc)
    said = str(said)[-4000:].lower()
    return next((verdict for words, verdict in _GIT if words in said), permanent(ErrorType.SYSTEM))


def _by_errno(otherwise: Verdict) -> Look:
    def look(exc: Any) -> Answer:
        return by_errno(attr(exc, "errno")) or Through(cause_of(exc), otherwise)

    return look


def _pyfilesystem(otherwise: Verdict) -> Look:
    """PyFilesystem keeps the operating system's error as `exc`."""

    def look(exc: Any) -> Answer:
        inner = attr(exc, "exc")
        return Through(inner, otherwise) if isinstance(inner, BaseException) else otherwise

    return look


def _google_file(exc: Any) -> Answer:
    return by_status(attr(exc, "code")) or Through(cause_of(exc), _LOST)


_RULES: dict[str, Verdict | Look] = {
    **exactly("shutil.SameFileError shutil.SpecialFileError shutil.ExecError", _BAD_FILE),
    "shutil.Error": _by_errno(_BAD_FILE),
    "shutil.RegistryError": _REFUSED,
    **within("send2trash watchdog", "TrashPermissionError UnsupportedLibcError WatchdogShutdownError", _BAD_FILE),
    # PyFilesystem
    **within("fs", "FSError ResourceError PathError OperationFailed CreateFailed", _pyfilesystem(_BAD_FILE)),
    **within("fs", "ResourceLocked", _LOCKED),
    **within("fs", "RemoteConnectionError OperationTimeout", _LOST),
    **within("fs", "InsufficientStorage", _FULL_DISK),
    **within("fs", "PermissionDenied RemoveRootError Unsupported", _BAD_FILE),
    **within("fs", "IllegalBackReference UnsupportedHash InvalidCharsInPath InvalidPath", _REFUSED),
    **within("fs", "OpenerError ParseError", _REFUSED),
    # fsspec and the stores behind it
    **within("fsspec", "FSTimeoutError", transient(ErrorType.NETWORK, "ETIMEDOUT")),
    **within("fsspec", "BlocksizeMismatchError", _REFUSED),
    **within("fsspec", "ReferenceNotReachable", _by_errno(_LOST)),
    **within("s3fs", "FileExpired", _LOST),
    **within("gcsfs", "HttpError", _google_file),
    **within("gcsfs", "ChecksumError", _LOST),
    **within("gcsfs", "NonRetryableError", _by_errno(_BAD_FILE)),
    **within("fsspec", "DatabricksException", _by_errno(_LOST)),
    **within("smart_open", "WebHdfsException", _by_errno(_LOST)),
    **within("smb smbprotocol", "NotReadyError SMBTimeout SMBConnectionClosed", _LOST),
    # Git
    **within("git", "GitError CommandError GitCommandError HookExecutionError", _git),
    **within("git", "GitCommandNotFound", _NO_PROGRAM),
    **within("git", "InvalidGitRepositoryError NoSuchPathError", _BAD_FILE),
    **within("git", "CheckoutError RepositoryDirtyError UnmergedEntriesError", _CONFLICT),
    **within("git", "UnsafeOptionError UnsafeProtocolError CacheError", _REFUSED),
    **within("gitdb", "ODBError BadName BadObject AmbiguousObjectName", _REFUSED),
    **within("pygit2 _pygit2", "GitError", _git),
    **within("pygit2 _pygit2", "AuthError CertificateError", _DENIED),
    **within(
        "pygit2 _pygit2", "InvalidSpecError AmbiguousError InvalidError NotFoundError AlreadyExistsError", _REFUSED
    ),
    **within("dulwich", "GitProtocolError HangupException SendPackError PackFileDisappeared", _LOST),
    **within("dulwich", "HTTPUnauthorized HTTPProxyUnauthorized", _DENIED),
    **within("dulwich", "NotGitRepository NoIndexPresent", _BAD_FILE),
    **within("dulwich", "FileLocked", _LOCKED),
    **within("dulwich", "FileFormatException ChecksumMismatch ApplyDeltaError UnresolvedDeltas", _UNREADABLE),
    **within("dulwich", "ObjectMissing WrongObjectException RefFormatError MissingCommitError InvalidWants", _REFUSED),
    **within(
        "dulwich", "Error CommitError HookError LFSError AmError UnmergedEntries PatchApplicationFailure", _CONFLICT
    ),
    **within("dulwich", "BundleURIError UnsupportedVersion UnsupportedExtension SymrefLoop FilterError", _REFUSED),
    **within("dulwich", "MergeConflict RebaseConflict DivergedBranches WorkingTreeModifiedError", _CONFLICT),
    **within("hglib", "CommandError ServerError", _git),
    # serial ports
    **within("serial", "SerialException", _by_errno(transient(ErrorType.SYSTEM))),
    # package databases
    **within("apt apt_pkg", "LockFailedException CacheClosedException FetchCancelledException", _LOCKED),
    **within("apt apt_pkg", "FetchFailedException", _LOST),
    **within("apt apt_pkg", "UntrustedException", _REFUSED),
}

FAMILY = Family(name="files", classes=_RULES)
