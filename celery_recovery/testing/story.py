"""The life of a task told in lines, for failed assertions: secrets are hidden, and foreign text is harmless."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kombu.utils.encoding import safe_repr

from celery_recovery.dead_letters.letter import Letter
from celery_recovery.redact import Redactor
from celery_recovery.text import cut, short_class, visible

if TYPE_CHECKING:
    from celery_recovery.testing.run import Run, Sent, Start

__all__ = ("call", "shown", "told")

_redact = Redactor()
#: Characters of a value, and of an exception's message, that are shown.
SHOWN, MESSAGE = 200, 160
#: Starts that are told at either end of a long life.
ENDS = 8
#: Tasks sent, and letters of items, that are told one by one.
MOST = 8


def told(run: Run) -> str:
    """A line for the run, one for each start, and what it left."""
    return "\n".join((_headline(run), *_starts(run.starts), *_left(run)))


def shown(value: Any) -> str:
    """Any value, fit for a message."""
    return cut(visible(_redact.text(safe_repr(_redact(value)))), SHOWN)


def call(task: str, args: Any, kwargs: Any) -> str:
    """`shop.charge(4711, amount=5)`."""
    hidden = _redact(dict(kwargs))
    words = [shown(value) for value in args] + [f"{name}={shown(value)}" for name, value in hidden.items()]
    return f"{visible(task)}({', '.join(words)})"


def _headline(run: Run) -> str:
    count = len(run.attempts)
    parts = [
        str(run.outcome).replace("_", "-"),
        *([f"result {shown(run.result)}"] if run.outcome == "succeeded" else []),
        *([run.reason] if run.reason and run.outcome != "succeeded" else []),
        "1 attempt" if count == 1 else f"{count} attempts",
        f"waited {run.waited:g} s" if run.waited else "",
        f"state {run.state}",
        f"replay {run.replays}" if run.replays else "",
    ]
    return f"{call(run.task, run.args, run.kwargs)} [{run.id}]: {', '.join(filter(None, parts))}"


def _starts(starts: Sequence[Start]) -> Iterator[str]:
    """The first and the last, where there are many."""
    ends = len(starts) if len(starts) <= 2 * ENDS + 1 else ENDS
    yield from map(_start, starts[:ends])
    if ends < len(starts):
        yield f"  … {len(starts) - 2 * ends} more …"
        yield from map(_start, starts[-ends:])


def _start(start: Start) -> str:
    line = f"  at {start.at:g} s: attempt {start.attempt}: {_what(start)}"
    decision = start.decision
    if decision is None:
        return line
    why = f": {visible(_redact.text(decision.detail))}" if decision.detail else ""
    delay = f" in {decision.delay:g} s" if decision.delay is not None else ""
    return f"{line}\n      {start.done}{delay}, {decision.reason}{why}"


def _what(start: Start) -> str:
    error = start.error
    if error is None:
        return start.done.replace("_", " ")
    message = cut(visible(_redact.text(error.message)), MESSAGE)
    wait = f", wants {error.retry_after:g} s" if error.retry_after is not None else ""
    worth = "retryable" if error.is_retryable else "not retryable"
    return f"{short_class(error.exception)}: {message} [{error.error_type}, {worth}, rule {error.rule}{wait}]"


def _left(run: Run) -> Iterator[str]:
    if run.letter is not None:
        yield f"  letter: {_letter(run.letter)}"
    yield from _listed("letter of an item", [_item(letter) for letter in run.item_letters])
    if run.parked is not None:
        yield f"  parked: {visible(run.parked.reason)} {visible(run.parked.circuit)}".rstrip()
    if run.due_in is not None:
        yield f"  next start in {run.due_in:g} s"
    if run.checkpoint is not None:
        yield f"  checkpoint: {shown(run.checkpoint)}"
    yield from _listed("sent", [_sent(sent) for sent in run.sent])


def _letter(letter: Letter) -> str:
    marks = [letter.error.error_type.value, letter.reason, letter.state.value, "held" if letter.held else ""]
    return ", ".join(filter(None, marks))


def _item(letter: Letter) -> str:
    header = letter.batch_header
    where = "" if header is None else ", ".join(
        f"number {item.position}" + ("" if item.key is None else f" ({visible(item.key)})") for item in header.items
    )  # fmt: skip
    return f"{where}: {short_class(letter.error.exception)} [{_letter(letter)}]"


def _sent(sent: Sent) -> str:
    return call(sent.task, sent.args, sent.kwargs) + (f" in {sent.delay:g} s" if sent.delay else "")


def _listed(what: str, lines: list[str]) -> Iterator[str]:
    yield from (f"  {what}: {line}" for line in lines[:MOST])
    if len(lines) > MOST:
        yield f"  … and {len(lines) - MOST} more"
