"""The words in which bugs are written down."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

__all__ = ("Bug", "ClosedPort", "Document", "Folder", "Page", "Part", "Sample")


class Part(str, enum.Enum):
    """What a family of bugs was to the rules of fingerprints; printed as the head of a column."""

    #: The rules were made looking at these.
    SEEN = "F1 seen"
    #: Looked at when the rules stood; what they showed then has changed two rules.
    HELD_OUT = "F1 held out"
    #: Written when the rules stood again.
    LAST = "F1 written last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One mistake, and calls that run into it."""

    #: `family/name`; the bugs of a family are easily mistaken for each other.
    label: str
    #: The job that fails, a function of the application's module `tasks`.
    entry: str
    #: Arguments of each call.
    inputs: tuple[tuple[Any, ...], ...]
    #: A module that has to be there.
    needs: str = ""
    #: The least Python, e.g. (3, 11).
    python: tuple[int, int] = (3, 10)

    @property
    def family(self) -> str:
        return self.label.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Page:
    """Stands for the URL of a page of a local server that answers so; status 0: nobody listens there."""

    path: str
    status: int = 200
    body: str = "{}"


@dataclass(frozen=True, slots=True)
class Document:
    """Stands for the path of a file with this content; None: of no file."""

    name: str
    content: str | bytes | None


@dataclass(frozen=True, slots=True)
class Folder:
    """Stands for the path of a folder that exists."""

    name: str


@dataclass(frozen=True, slots=True)
class ClosedPort:
    """Stands for `host:port`, or with `port_only` for the port, where nobody listens."""

    host: str = "127.0.0.1"
    port_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One exception with the label that it should be grouped by."""

    label: str
    part: Part
    app: str
    task: str
    setting: str
    exc: BaseException
