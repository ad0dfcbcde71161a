"""`ErrorInfo.traceback`: source lines are read from Python files and from nothing else, whatever a message says."""

from __future__ import annotations

import os
from typing import Any

import pytest

from celery_recovery.errors import ErrorInfo, ErrorSeverity, ErrorType, Frame, classify


def traceback(*frames: Any) -> str:
    """The text for these frames, as if read from a letter."""
    info = ErrorInfo(
        error_type=ErrorType.UNKNOWN,
        is_retryable=False,
        severity=ErrorSeverity.LOW,
        rule="r",
        exception="shop.Broken",
        message="why",
        frames=frames,
    )
    return ErrorInfo.from_dict(info.to_dict()).traceback


def test_source_lines_of_python_files(tmp_path):
    """A line is shown with its source where the file is here, and without it where it is not."""
    source = tmp_path / "orders.py"
    source.write_text("def ship():\n    second()\n")
    assert traceback(Frame(str(source), 2, "ship"), Frame("/no/such/file.py", 1, "charge")).split("\n") == [
        "Traceback (most recent call last):",
        f'  File "{source}", line 2, in ship',
        "    second()",
        '  File "/no/such/file.py", line 1, in charge',
        "shop.Broken: why",
    ]


def test_of_a_real_exception():
    """The line that raised is in it."""
    try:
        raise KeyError("sku")
    except KeyError as exc:
        text = classify(exc).traceback
    assert '    raise KeyError("sku")\nbuiltins.KeyError: ' in text


@pytest.mark.parametrize(
    ("line", "name", "shown"),
    [
        (1, "<module>", False), (1, "connect", False), (3, "Config", False), (3, "connect", False),
        (6, "connect", True), (6, "other", False), (8, "<lambda>", True), (9, "<module>", False),
        (99, "connect", False), (-1, "connect", False),
    ],
)  # fmt: skip
def test_only_lines_of_that_function(tmp_path, line, name, shown):
    """What stands outside functions, as settings do, is not shown, whatever a forged step says; nor is another's."""
    source = tmp_path / "settings.py"
    source.write_text(
        "HUSH = [\n    'hush']\nclass Config:\n    hush = 1\ndef connect():\n    hush()\n\n"
        "call = lambda: hush\nhush = 9\n"
    )
    assert ("hush" in traceback(Frame(str(source), line, name)).replace("/hush", "")) == shown


def test_a_file_that_changes_is_read_again(tmp_path):
    """A tool may run for weeks."""
    source = tmp_path / "orders.py"
    source.write_text("def ship():\n    first()\n")
    assert "first()" in traceback(Frame(str(source), 2, "ship"))
    source.write_text("def ship():\n    the_second()\n")
    assert "the_second()" in traceback(Frame(str(source), 2, "ship"))


def test_no_python(tmp_path):
    """A file that does not compile, or would take long to, has no lines."""
    for text in ("def ship(:\n    hush()\n", "def ship():\n    hush()\n" + "# \n" * 1_000_000, "(" * 5000, "\0"):
        source = tmp_path / "orders.py"
        source.write_text(text)
        assert "hush" not in traceback(Frame(str(source), 2, "ship"))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["fifo", "fifo.py", "link.py"])
def test_a_fifo_is_not_read(tmp_path, name):
    """A forged frame that names a FIFO, by itself or by a link, does not make the reader wait for a writer."""
    os.mkfifo(tmp_path / name.replace("link.py", "target"))
    if name == "link.py":
        (tmp_path / name).symlink_to(tmp_path / "target")
    assert traceback(Frame(str(tmp_path / name), 1, "f")).count("\n") == 2


@pytest.mark.parametrize("name", ["secret.txt", "orders.py.txt", "py"])
def test_other_files_are_not_read(tmp_path, name):
    """Whoever can write a letter cannot have other files shown."""
    (tmp_path / name).write_text("hush\n")
    assert "hush" not in traceback(Frame(str(tmp_path / name), 1, "f"))


@pytest.mark.parametrize(
    "frame",
    [
        ("nul\0.py", 1, "f"),
        ("long" * 1000 + ".py", 1, "f"),
        (["a"], 1, "f"),
        (7, 1, "f"),
        (__file__, "1", "f"),
        (__file__, None, None),
    ],
)
def test_garbage(frame):
    """A frame that makes no sense is shown as it is."""
    assert f'File "{frame[0]}", line {frame[1]}' in traceback(Frame(*frame))
