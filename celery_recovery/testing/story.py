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

__all__ = ("Teller",)

#: Characters of a value, and of an exception's message, that are shown.
SHOWN, MESSAGE = 200, 160
#: Starts that are told at either end of a long life.
ENDS = 8
#: Tasks sent, and letters of items, that are told one by one.
MOST = 8


class Teller:
    """Tells runs and values, by the redactor of an app."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def told(self, run: Run) -> str:
        """A line for the run, one for each start, and what it left."""
        return "\n".join((self._headline(run), *self._starts(run.starts), *self._left(run)))

    def shown(self, value: Any) -> str:
        """Any value, fit for a message."""
        hidden = value if isinstance(value, BaseException) else self._redact(value)
        return self._line(safe_repr(hidden), SHOWN)

    def call(self, task: str, args: Sequence[Any], kwargs: Any) -> str:
        """`shop.charge(4711, amount=5)`."""
        words = [self._line(safe_repr(value), SHOWN) for value in self._redact.args(task, list(args))]
        words += [f"{name}={self._line(safe_repr(value), SHOWN)}" for name, value in self._redact(dict(kwargs)).items()]
        return f"{visible(task)}({', '.join(words)})"

    # -- within

    def _line(self, text: str, most: int) -> str:
        return cut(visible(self._redact.text(text)), most)

    def _headline(self, run: Run) -> str:
        count, succeeded = len(run.attempts), run.outcome == "succeeded"
        parts = [
            str(run.outcome).replace("_", "-"),
            f"result {self.shown(run.result)}" if succeeded else run.reason,
            "1 attempt" if count == 1 else f"{count} attempts",
            f"waited {run.waited:g} s" if run.waited else "",
            f"state {run.state}",
            f"replay {run.replays}" if run.replays else "",
        ]
        return f"{self.call(run.task, run.args, run.kwargs)} [{run.id}]: {', '.join(filter(None, parts))}"

    def _starts(self, starts: Sequence[Start]) -> Iterator[str]:
        """The first and the last, where there are many."""
        ends = len(starts) if len(starts) <= 2 * ENDS + 1 else ENDS
        yield from map(self._start, starts[:ends])
        if ends < len(starts):
            yield f"  … {len(starts) - 2 * ends} more …"
            yield from map(self._start, starts[-ends:])

    def _start(self, start: Start) -> str:
        line = f"  at {start.at:g} s: attempt {start.attempt}: {self._what(start)}"
        decision = start.decision
        if decision is None:
            return line
        why = f": {self._line(decision.detail, SHOWN)}" if decision.detail else ""
        delay = f" in {decision.delay:g} s" if decision.delay is not None else ""
        return f"{line}\n      {start.done}{delay}, {decision.reason}{why}"

    def _what(self, start: Start) -> str:
        error = start.error
        if error is None:
            raised = "" if start.exception is None else f": {self.shown(start.exception)}"
            return start.done.replace("_", " ") + raised
        message = self._line(error.message, MESSAGE)
        wait = f", wants {error.retry_after:g} s" if error.retry_after is not None else ""
        worth = "retryable" if error.is_retryable else "not retryable"
        return f"{short_class(error.exception)}: {message} [{error.error_type}, {worth}, rule {error.rule}{wait}]"

    def _left(self, run: Run) -> Iterator[str]:
        if run.letter is not None:
            yield f"  letter: {_letter(run.letter)}"
        yield from _listed("letter of an item", [self._item(letter) for letter in run.item_letters])
        if run.parked is not None:
            yield f"  parked: {visible(run.parked.reason)} {visible(run.parked.circuit)}".rstrip()
        if run.due_in is not None:
            yield f"  next start in {run.due_in:g} s"
        if run.checkpoint is not None:
            yield f"  checkpoint: {self.shown(run.checkpoint)}"
        yield from _listed("sent", [self._sent(sent) for sent in run.sent])

    def _item(self, letter: Letter) -> str:
        items = () if letter.batch_header is None else letter.batch_header.items
        keys = ("" if item.key is None else f" ({self._line(item.key, SHOWN)})" for item in items)
        where = ", ".join(f"number {item.position}{key}" for item, key in zip(items, keys, strict=True))
        return f"{where}: {short_class(letter.error.exception)} [{_letter(letter)}]"

    def _sent(self, sent: Sent) -> str:
        return self.call(sent.task, sent.args, sent.kwargs) + (f" in {sent.delay:g} s" if sent.delay else "")


def _letter(letter: Letter) -> str:
    marks = [letter.error.error_type.value, letter.reason, letter.state.value, "held" if letter.held else ""]
    return ", ".join(filter(None, marks))


def _listed(what: str, lines: list[str]) -> Iterator[str]:
    yield from (f"  {what}: {line}" for line in lines[:MOST])
    if len(lines) > MOST:
        yield f"  … and {len(lines) - MOST} more"
