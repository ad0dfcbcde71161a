"""Changing what a letter will be replayed with: the arguments of its task, or the item of a batch that it carries.

kwargs.region=eu     a keyword argument; the new value is text where the old one is
args.0=7             a positional one, counted from 0
kwargs.order.lines.0.sku=…   inside it
item.price=9.99      a field of a batch's item; item={…} is all of it
kwargs.limit:=9.99   the value is JSON, whatever the old one is

A JSON patch (RFC 6902) changes the document `{"args": [...], "kwargs": {...}}`.

Only a body that is plain JSON text can be changed; nothing is unpickled. What does not fit the signature of the task
that is registered here, or its pydantic models, is refused before anything is stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from celery import Celery
from celery.utils.saferepr import saferepr
from kombu.utils import json as kombu_json

from celery_recovery.batch.item import LARGEST
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.signature import check_call
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.redact import MASK, Redactor

__all__ = ("Change", "Edit")

_EXPECTED = "kwargs.NAME=VALUE, args.N=VALUE, item.FIELD=VALUE, item=VALUE, or := for JSON"
#: Characters of Celery's own text of the arguments (`argsrepr_maxsize`).
_SHOWN = 1024


class Change(NamedTuple):
    """One `--set`."""

    #: `"args"`, `"kwargs"` or `"item"`.
    what: str
    path: tuple[str, ...]
    value: str
    #: The value is JSON.
    is_json: bool

    @classmethod
    def parse(cls, text: str) -> Change:
        """Read it. Raises `ConfigurationError`."""
        name, sign, value = text.partition("=")
        is_json = name.endswith(":")
        first, *path = name.removesuffix(":").split(".")
        if not sign or first not in ("args", "kwargs", "item") or not all(path) or (first != "item" and not path):
            raise ConfigurationError.of("set", expected=_EXPECTED, got=text)
        if is_json or not path:
            _parsed(value)
        return cls(first, tuple(path), value, is_json or not path)

    def onto(self, value: Any) -> Any:
        """The value with this change. Raises `ConfigurationError` where it has no such place."""
        if not self.path:
            return _parsed(self.value)
        here = value
        for step in self.path[:-1]:
            here = here[_place(here, step, self)]
        last = _place(here, self.path[-1], self, new=True)
        old = here.get(last) if isinstance(here, dict) else here[last]
        here[last] = self.value if isinstance(old, str) and not self.is_json else _parsed(self.value, text=True)
        return value

    def __str__(self) -> str:
        return ".".join((self.what, *self.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is to be changed in each letter of a selection. `of` reads and checks it."""

    #: As they were written, each as `Change.parse` takes it.
    changes: tuple[str, ...] = ()
    #: Operations of a JSON patch.
    patch: tuple[Mapping[str, Any], ...] = ()
    #: False: the signature of the task is not looked at.
    validate: bool = True

    @classmethod
    def of(cls, changes: Sequence[str] = (), patch: Any = (), *, validate: bool = True) -> Edit:
        """Raises `ConfigurationError` for what makes no sense, whatever the letter."""
        for change in changes:
            Change.parse(change)
        if patch:
            _read_patch(patch)
        if not changes and not patch:
            raise ConfigurationError.of("set", expected=_EXPECTED, got="nothing")
        return cls(changes=tuple(changes), patch=tuple(patch), validate=validate)

    def onto(self, app: Celery, letter: Letter) -> Letter:
        """The letter as it is to be. Raises `ConfigurationError` where that cannot be."""
        parsed = [Change.parse(change) for change in self.changes]
        items = [change for change in parsed if change.what == "item"]
        others = [change for change in parsed if change.what != "item"]
        if items:
            letter = _with_item(letter, items)
        return self._with_arguments(app, letter, others) if others or self.patch else letter

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` reads it back."""
        return {"changes": list(self.changes), "patch": [dict(one) for one in self.patch], "validate": self.validate}

    def told(self, hide: Redactor) -> dict[str, Any]:
        """The same for people, without secrets.

        New positional arguments are hidden, as they have no name; what was changed in a letter is told with the letter.
        """
        changes = [_told(*change.partition("="), hide=hide) for change in self.changes]
        patch = [
            {**hide(one), **({"value": MASK} if "value" in one and not _is_named(one) else {})} for one in self.patch
        ]
        return {"changes": changes, "patch": patch, "validate": self.validate}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Edit:
        """Read `to_dict`'s form."""
        return cls(changes=tuple(data["changes"]), patch=tuple(data["patch"]), validate=data["validate"])

    def _with_arguments(self, app: Celery, letter: Letter, changes: Sequence[Change]) -> Letter:
        embed, decoded = letter.embed, letter.arguments
        if embed is None or decoded is None or letter.raw:
            expected = "a letter whose body is plain JSON text: its arguments can be read without unpickling anything"
            raise ConfigurationError.of("set", expected=expected, got=f"{letter.id}, {letter.content_type}")
        document: Any = {"args": decoded[0], "kwargs": decoded[1]}
        for change in changes:
            document[change.what] = change.onto(document[change.what])
        document = _patched(document, self.patch, letter)
        args, kwargs = document["args"], document["kwargs"]
        if self.validate:
            check_call(app, letter.task, args, kwargs, before=letter.arguments)
        body = json.dumps([args, kwargs, embed]).encode()
        shown = {"argsrepr": saferepr(tuple(args), _SHOWN), "kwargsrepr": saferepr(kwargs, _SHOWN)}
        return letter.changed(body=body, headers={**letter.headers, **shown})


def _told(name: str, sign: str, value: str, *, hide: Redactor) -> str:
    return f"{name}{sign}{MASK if name.startswith('args.') or hide.is_secret(name) else hide.text(value)}"


def _is_named(operation: Mapping[str, Any]) -> bool:
    """It changes a keyword argument, whose name says whether it is secret."""
    return str(operation.get("path")).startswith("/kwargs/")


def _read_patch(operations: Any) -> Any:
    """The patch as its library has it. Raises `ConfigurationError`."""
    try:
        import jsonpatch
    except ImportError:
        expected = "the package jsonpatch: pip install celery-recovery[edit]"
        raise ConfigurationError.of("patch", expected=expected, got="none") from None
    try:
        return jsonpatch.JsonPatch(list(operations))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, ValueError, AttributeError) as exc:
        expected = f"a JSON patch (RFC 6902): {str(exc).rstrip('.')}"
        raise ConfigurationError.of("patch", expected=expected, got=operations) from None


def _patched(document: Any, operations: Sequence[Mapping[str, Any]], letter: Letter) -> Any:
    for operation in operations:
        document = _one_patched(document, operation, letter)
    is_sound = isinstance(document, dict) and set(document) == {"args", "kwargs"}
    if not is_sound or not isinstance(document["args"], list) or not isinstance(document["kwargs"], dict):
        expected = "args to be a list and kwargs an object afterwards"
        raise ConfigurationError.of("patch", expected=expected, got=letter.id)
    return document


def _one_patched(document: Any, operation: Mapping[str, Any], letter: Letter) -> Any:
    """The words are ours: those of the library show values, which may be secret, and classes of Python."""
    import jsonpatch

    try:
        return _read_patch([operation]).apply(document)
    except jsonpatch.JsonPatchTestFailed:
        why = "does not find that value"
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, ValueError):
        why = "finds no such place"
    expected = f"a patch that fits the arguments; {operation['op']} {operation['path']!r} {why}"
    raise ConfigurationError.of("patch", expected=expected, got=letter.id)


def _with_item(letter: Letter, changes: Sequence[Change]) -> Letter:
    header = letter.batch_header
    if header is None or len(header.items) != 1:
        expected = "a letter of one item of a batch"
        raise ConfigurationError.of("set", expected=expected, got=letter.id, hint="Only these have an item.")
    item = header.items[0]
    value = None if item.value is None else json.loads(item.value)
    for change in changes:
        if value is None and change.path:
            expected = "item=VALUE: its letter does not carry the item"
            raise ConfigurationError.of("set", expected=expected, got=str(change))
        value = change.onto(value)
    told = json.dumps(value)
    if len(told) > LARGEST:
        raise ConfigurationError.of("set", expected=f"an item of at most {LARGEST:,} bytes", got=f"{len(told):,} bytes")
    kombu_json.loads(told)  # what it cannot read no worker could
    changed = replace(item, value=told, tuple=item.tuple and isinstance(value, list), shown="")
    return letter.changed(batch=replace(header, items=(changed,)).to_dict())


def _place(here: Any, step: str, change: Change, *, new: bool = False) -> Any:
    if isinstance(here, dict) and (new or step in here):
        return step
    if isinstance(here, list) and step.isdigit() and int(step) < len(here):
        return int(step)
    whole = "item has" if change.what == "item" else "arguments have"
    raise ConfigurationError.of("set", expected=f"a place that the {whole}; there is no {step!r}", got=str(change))


def _parsed(value: str, *, text: bool = False) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        if text:
            return value
        raise ConfigurationError.of("set", expected="JSON", got=value) from None
