"""File trees behind an interface."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike


def test_copy_onto_itself_and_foreign_archives(tmp_path: Path) -> None:
    """The classes of shutil are OSErrors without an errno."""
    file = tmp_path / "a.zip"
    file.write_text("no archive")
    with pytest.raises(shutil.SameFileError) as same:
        shutil.copy(file, file)
    with pytest.raises(shutil.ReadError) as unread:
        shutil.unpack_archive(file, tmp_path / "out")
    with pytest.raises(shutil.Error) as several:
        shutil.copytree(tmp_path, tmp_path / "again", copy_function=lambda *_: _refuse(), dirs_exist_ok=True)
    found = [
        (classify(caught.value).error_type, classify(caught.value).is_retryable) for caught in (same, unread, several)
    ]
    assert found == [(ErrorType.FILESYSTEM, False), (ErrorType.PARSING, False), (ErrorType.FILESYSTEM, False)]


def _refuse() -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(
    ("stderr", "expected", "retryable"),
    [
        ("fatal: unable to access 'https://x/': Could not resolve host: x", ErrorType.NETWORK, True),
        ("fatal: the remote end hung up unexpectedly", ErrorType.NETWORK, True),
        ("error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502", ErrorType.NETWORK, True),
        ("fatal: Authentication failed for 'https://x/'", ErrorType.NETWORK, False),
        ("fatal: Unable to create '/x/.git/index.lock': File exists.", ErrorType.FILESYSTEM, True),
        ("fatal: not a git repository", ErrorType.FILESYSTEM, False),
        ("error: pathspec 'x' did not match any file(s) known to git", ErrorType.VALIDATION, False),
        (" ! [rejected] main -> main (fetch first)", ErrorType.BUSINESS_LOGIC, False),
        ("something else", ErrorType.SYSTEM, False),
    ],
)
def test_git_is_judged_by_what_it_printed(stderr: str, expected: ErrorType, retryable: bool) -> None:
    """Its exit code is 128 for nearly everything."""
    info = classify(lookalike("git.exc.GitCommandError", stderr=stderr)("git", 128))
    assert (info.error_type, info.is_retryable) == (expected, retryable)


def test_pyfilesystem_keeps_the_systems_error() -> None:
    """`exc` is what the operating system said."""
    failed = lookalike("fs.errors.OperationFailed", exc=ConnectionResetError(104, "reset"))
    assert classify(failed("operation failed")).is_retryable
    assert not classify(lookalike("fs.errors.OperationFailed", exc=None)("operation failed")).is_retryable


@pytest.mark.parametrize(
    ("name", "expected", "retryable"),
    [
        ("fs.errors.ResourceLocked", ErrorType.FILESYSTEM, True),
        ("fs.errors.RemoteConnectionError", ErrorType.NETWORK, True),
        ("fs.errors.ResourceNotFound", ErrorType.FILESYSTEM, False),
        ("fsspec.exceptions.FSTimeoutError", ErrorType.NETWORK, True),
        ("apt.cache.LockFailedException", ErrorType.FILESYSTEM, True),
    ],
)
def test_libraries_are_known_by_name(name: str, expected: ErrorType, retryable: bool) -> None:
    """Locks are released and disks emptied; what is not there does not appear."""
    bases = (lookalike("fs.errors.ResourceError"),) if name == "fs.errors.ResourceNotFound" else ()
    info = classify(lookalike(name, *bases)("text"))
    assert (info.error_type, info.is_retryable) == (expected, retryable)
