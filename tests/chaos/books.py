"""The books: every token in exactly one place, the right exception everywhere, and no completed work done again.

One repetition is nobody's fault: a process that dies after the body's end and before its result is stored leaves no
note of the work. `excused` names that moment and no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery_recovery import Letter
from tests.apps.chaos import Line
from tests.chaos import steps
from tests.chaos.scenarios import End
from tests.chaos.site import Site

__all__ = ("excused", "story", "violations")

#: How a task may end whose process died during its last attempt.
_DEATHS = frozenset({"WorkerLostError"})


def violations(site: Site, ids: Mapping[str, str], ends: Mapping[str, End], kills: int) -> list[str]:
    """What differs from how it must end; empty when the books balance. `kills`: how many processes were killed."""
    letters = site.letters()
    found: list[str] = []
    for token, end in ends.items():
        found += _of_token(site, token, ids[token], end, letters.pop(ids[token], None), kills)
    found += [f"a letter of an unknown task {letter.id} ({letter.task})" for letter in letters.values()]
    return found


def _of_token(site: Site, token: str, task_id: str, end: End, letter: Letter | None, kills: int) -> list[str]:
    lines = site.ledger.lines(token)
    done, starts = _count(lines, "end"), _count(lines, "start")
    result = site.result(task_id)
    state = result["status"] if result else None
    found = []
    if state != end.state:
        found.append(f"{token}: result {state}, not {end.state}")
    if end.letter not in ("", letter.state.value if letter else None):
        found.append(f"{token}: letter {letter.state.value if letter else None}, not {end.letter}")
    if done < end.done:
        place = "dead-lettered" if letter else f"reported as {state}" if state == "FAILURE" else "LOST"
        found.append(f"{token}: {place}: the body ended {done} times, not {end.done}")
    if done > end.done and not (done == end.done + 1 and excused(site, token, task_id)):
        found.append(f"{token}: REPEATED: the body ended {done} times, not {end.done}")
    if starts > end.starts + kills:
        found.append(f"{token}: began {starts} times, not {end.starts} and one for each of {kills} deaths")
    return found + _exceptions(token, end, result, letter, kills)


def _exceptions(token: str, end: End, result: Any, letter: Letter | None, kills: int) -> list[str]:
    """A child that dies on its last attempt ends it with its own death, and rightly so."""
    right = {end.exception, *_DEATHS} if kills else {end.exception}
    if end.exception == "SystemExit":  # what is no Exception reaches the caller as one that names it
        right |= {"NotAnException"}
    found = []
    if end.exception and end.state == "FAILURE" and result and result["status"] == "FAILURE":
        name = (result.get("result") or {}).get("exc_type")
        if name not in right:
            found.append(f"{token}: WRONG EXCEPTION in the result: {name}, not {end.exception}")
    if end.exception and letter is not None and letter.error.exception.rpartition(".")[2] not in right:
        found.append(f"{token}: WRONG EXCEPTION in the letter: {letter.error.exception}, not {end.exception}")
    return found


def _count(lines: list[Line], word: str) -> int:
    return sum(line.word == word for line in lines)


def excused(site: Site, token: str, task_id: str, deaths: Sequence[float] | None = None) -> bool:
    """Whether a process was killed after the body's end and before it stored the result: the only repetition allowed.

    It is read off the trace, so that it holds for whoever was killed: the child itself, or the group by another.
    `deaths` (unix seconds) are those that others caused.
    """
    ended = [line.time for line in site.ledger.lines(token) if line.word == "end"]
    trace = list(steps.read_trace(site.trace))
    killed = [*(deaths or ()), *(line["t"] for line in trace if line["when"] == "killed")]
    noted = [line["t"] for line in trace if line["when"] == "after" and line["of"] == f"{task_id} SUCCESS"]
    return any(end <= death and not any(end <= note <= death for note in noted) for end in ended for death in killed)


def story(site: Site, token: str, task_id: str) -> str:
    """All that is known of one token."""
    rows = [f"  {line.time:.3f} {line.word} retries={line.retries} pid={line.pid}" for line in site.ledger.lines(token)]
    letter = site.letters().get(task_id)
    told = [
        f"  letter {letter.state} {letter.reason}: {letter.detail}; replays {letter.replays}"
        if letter
        else "  no letter"
    ]
    log = [f"  {row}" for row in site.log.splitlines() if task_id in row]
    return "\n".join([f"{token} = {task_id}", *rows, f"  result {site.result(task_id)}", *told, *log])
