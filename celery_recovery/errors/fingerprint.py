"""One short name for failures that are the same.

Version 1 is `"1:"` and the first 16 hex digits of BLAKE2b over these parts:

- the task's name;
- the class chain: the exception that decided (what a wrapper was looked through to: a retry library's last attempt,
  a client's inner error, the explicit cause of an opaque class) and its explicit causes. So the same bug keeps its
  name whether it arrives bare or wrapped;
- the fault's own code (`HTTP 503`, `SQLSTATE 40P01`), since numbers leave the message;
- the deciding exception's message without its variable parts: URLs and whatever is quoted go; of the remaining words,
  each that holds a digit, a slash or an `@` (numbers, UUIDs, hexadecimal, timestamps, addresses, paths, ids) becomes
  `#`, and a row of them one `#`. Most punctuation does not count;
- the nearest frames of the application's own code, as module path and function, without line numbers: at most four,
  without the frames of decorators. The application is whatever is neither installed (site-packages, dist-packages), nor
  part of Python, nor this package. If none is there: the two nearest frames of libraries.

So one bug keeps its name when ids change, lines move, or the code is deployed elsewhere, and two bugs that fail in the
same function called from different places stay apart. Any change to these rules takes a new version number.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

__all__ = ("LIBRARY_NEAREST", "NEAREST", "fingerprint", "is_decorator", "is_library", "normal_message", "place_name")

VERSION = "1"
#: Frames that count: of the application, or of libraries where there is none of the application.
NEAREST, LIBRARY_NEAREST = 4, 2
_READ, _WORDS = 500, 40  # characters of the message that are read, words of it that count
_DECORATORS = frozenset(
    {"wrapper", "wrapped", "_wrapper", "_wrapped", "inner", "_inner", "decorated", "decorator", "__call__", "<lambda>"}
)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s'\"<>)\]]+")
# An apostrophe inside a word opens nothing; a quotation that was cut off ends with the text.
_QUOTED = re.compile(r"(?<!\w)(['\"`]).*?(?:\1(?!\w)|\Z)|[\u201c\u2018\u00ab].*?[\u201d\u2019\u00bb]", re.DOTALL)
_WORD = re.compile(r"[^\s'\"`(),;=<>\[\]{}|!?]+")
# Digits and what only paths and addresses hold become one mark, so that a word is variable if it holds the mark.
_MARKS = str.maketrans(dict.fromkeys("0123456789/\\@", "\0"))


def normal_message(text: str) -> str:
    """The message as words, without its variable parts."""
    text = text[:_READ]
    if "://" in text:
        text = _URL.sub(" 0 ", text)
    if "'" in text or '"' in text or not text.isascii() or "`" in text:
        text = _QUOTED.sub(" 0 ", text)
    words = ["#" if "\0" in word else word for word in _WORD.findall(text.translate(_MARKS))]
    if words.count("#") > 1:
        words = [word for word, same in groupby(words) for _ in (same if word != "#" else (1,))]
    return " ".join(words[:_WORDS])


def fingerprint(task: str, chain: Iterable[str], code: str, message: str, places: Sequence[str]) -> str:
    """The name of a failure; `places` as `place_name` gives them, nearest first."""
    data = "\0".join((task, ">".join(chain), code, normal_message(message), *places))
    return f"{VERSION}:{hashlib.blake2b(data.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"


_PYTHON = tuple({f"{Path(p)}/" for key in ("stdlib", "platstdlib") if (p := sysconfig.get_paths().get(key))})
_OURS = f"{Path(__file__).resolve().parents[1]}/"
_files: dict[str, tuple[bool, str]] = {}


def _file(filename: str) -> tuple[bool, str]:
    """(is it a library's?, its name without folder and suffix), remembered for some thousand files."""
    known = _files.get(filename)
    if known is None:
        if len(_files) >= 4096:
            _files.clear()
        path = filename.replace("\\", "/")
        library = (
            "/site-packages/" in path or "/dist-packages/" in path or path.startswith(("<frozen ", _OURS, *_PYTHON))
        )
        last = path.rpartition("/")[2]
        known = _files[filename] = (library, last.rpartition(".")[0] or last)
    return known


def is_library(filename: str) -> bool:
    """Is the file installed, part of Python, or ours?"""
    return _file(filename)[0]


def is_decorator(function: str) -> bool:
    """Is it one of the names that decorators give to what they return?"""
    return function in _DECORATORS


def place_name(filename: str, module: str, function: str) -> str:
    """`shop.tasks:charge` for `/srv/app-17/shop/tasks.py`; without a module that fits the file, the file's own name."""
    stem = _file(filename)[1]
    fits = module.rpartition(".")[2] == stem or stem == "__init__"
    return f"{module if fits and module else stem}:{function}"
