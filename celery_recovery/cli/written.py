"""A file that is there only when it is whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import click

__all__ = ("written",)


@contextmanager
def written(name: str) -> Iterator[IO[str]]:
    """A file to write UTF-8 to, which takes its name when the block has ended well; else what was there stays.

    What is no plain file (a pipe, `/dev/stdout`) is written to as it is. Raises click's UsageError, naming the option,
    where it cannot be written: no such directory, no right to, no room left.
    """
    try:
        target = Path(name).resolve()
        if target.exists() and not target.is_file():
            with target.open("w", encoding="utf-8") as file:
                yield file
            return
        with _beside(target) as file:
            yield file
    except OSError as exc:
        why = exc.strerror or type(exc).__name__
        raise click.UsageError(f"--output: expected a file that can be written, got {name!r}: {why}.") from None


@contextmanager
def _beside(target: Path) -> Iterator[IO[str]]:
    """A file of another name in the same directory, renamed in the end."""
    descriptor, part = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(part).chmod(0o666 & ~mask)  # as any file of this user, and not as a secret of theirs
        Path(part).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(part).unlink()
        raise
