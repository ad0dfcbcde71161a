"""One short name for failures that are the same.

Version 1 is `"1:"` and the first 16 hex digits of BLAKE2b over these parts:

- the task's name;
- the class chain: the exception that decided (what a wrapper was looked through to, e.g. a retry library's last attempt, a
  client's inner error, the explicit cause of an opaque class) and its explicit causes. The same bug therefore keeps its
  name whether it arrives bare or wrapped;
- the fault's own code (`HTTP 503`, `SQLSTATE 40P01`), since numbers leave the message;
- the deciding exception's message without its variable parts: URLs, e-mail addresses, UUIDs, timestamps, IP addresses,
  paths, quoted text, hexadecimal and decimal numbers all become `#`, and a list of them one `#`;
- the nearest frames of the application's own code, as module path and function, without line numbers: at most four, with
  the frames of decorators left out. The application is whatever is neither installed (site-packages, dist-packages), nor
  part of Python, nor this package. If none is there: the two nearest frames of libraries.

So one bug keeps its name when ids change, lines move, or the code is deployed elsewhere, and two bugs that fail in the same
helper stay apart by its callers. Any change to these rules takes a new version number.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ("Place", "fingerprint", "is_library", "normal_message")

VERSION = "1"
_READ, _KEPT = 400, 160  # characters of the message that are read, and of the result that count
_NEAREST, _LIBRARY_NEAREST = 4, 2
_DECORATORS = frozenset({"wrapper", "wrapped", "_wrapper", "_wrapped", "inner", "_inner", "decorated", "__call__", "<lambda>"})

_VARIABLE = re.compile(
    r"""
      [a-z][a-z0-9+.-]{1,15}://[^\s'"<>)\]]+                            # URL
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+                                      # e-mail address
    | (?<!\w)(?:'[^'\n]*(?:'(?!\w)|\Z)|"[^"\n]*(?:"|\Z)|`[^`\n]*(?:`|\Z)) # quoted text, also if cut off
    | [\u201c\u2018\u00ab][^\u201d\u2019\u00bb\n]*[\u201d\u2019\u00bb]
    | (?:(?<=[\s=(:,])|\A)(?:[A-Za-z]:)?(?:\.{0,2}[\\/])[\w.@%+~-][\w.@%+~\\/-]*  # path
    | [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}      # UUID
    | \d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?  # timestamp
    | 0x[0-9a-f]+
    | (?<![0-9a-z])(?=[a-f]*\d)[0-9a-f]{6,}(?![0-9a-z])                 # hexadecimal with a digit in it
    | (?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{1,4}                              # IPv6
    | [-+]?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?                               # numbers, IPv4, times, versions
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LISTS = re.compile(r"#(?:[\s,;:/|&+-]*#)+")


class Place(NamedTuple):
    """Where a frame is: file, the module it says it belongs to, and its function."""

    filename: str
    module: str
    function: str


def normal_message(text: str) -> str:
    """The message without its variable parts."""
    return _LISTS.sub("#", _VARIABLE.sub("#", text[:_READ]))[:_KEPT]


def fingerprint(task: str, chain: Iterable[str], code: str, message: str, places: Iterable[Place]) -> str:
    """The name of a failure; `places` outermost first."""
    parts = (task, ">".join(chain), code, normal_message(message), *_own(list(places)))
    data = "\0".join(parts).encode("utf-8", "replace")
    return f"{VERSION}:{hashlib.blake2b(data, digest_size=8).hexdigest()}"


def _own(places: list[Place]) -> list[str]:
    own: list[str] = []
    for place in reversed(places):
        if place.function in _DECORATORS or is_library(place.filename):
            continue
        name = f"{_module_path(place)}:{place.function}"
        if not own or own[-1] != name:  # recursion counts once
            own.append(name)
        if len(own) == _NEAREST:
            break
    return own or [f"{_module_path(place)}:{place.function}" for place in places[-_LIBRARY_NEAREST:]]


def _module_path(place: Place) -> str:
    """`shop.tasks` for `/srv/app-17/shop/tasks.py` in module `shop.tasks`; else the file's own name."""
    stem = re.split(r"[\\/]", place.filename)[-1].rpartition(".")[0] or place.filename
    last = place.module.rpartition(".")[2]
    return place.module if last and stem in (last, "__init__") else stem


_PYTHON = tuple({str(Path(p)) for key in ("stdlib", "platstdlib") if (p := sysconfig.get_paths().get(key))})
_OURS = str(Path(__file__).resolve().parents[1])
_known: dict[str, bool] = {}


def is_library(filename: str) -> bool:
    """Is the file installed, part of Python, or ours?"""
    known = _known.get(filename)
    if known is None:
        if len(_known) > 4096:
            _known.clear()
        known = _known[filename] = _is_library(filename.replace("\\", "/"))
    return known


def _is_library(path: str) -> bool:
    if "/site-packages/" in path or "/dist-packages/" in path or path.startswith("<frozen "):
        return True
    return path.startswith((*(f"{p}/" for p in _PYTHON), f"{_OURS}/"))
