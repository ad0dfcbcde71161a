"""Grouping rules of other systems, written anew from what their sources do, in the terms of a Python exception.

Each names a sample's group. All of them get the task's name too, as ours does.
"""

from __future__ import annotations

import linecache
import re
import sysconfig
from itertools import groupby
from types import TracebackType

from tests.grouping.model import Sample

__all__ = ("RIVALS",)

_LIBRARIES = tuple({path for key in ("stdlib", "platstdlib", "purelib") if (path := sysconfig.get_paths().get(key))})


def _steps(exc: BaseException) -> list[TracebackType]:
    """The traceback, nearest call first."""
    steps = []
    step = exc.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    return steps[::-1]


def _type_name(exc: BaseException) -> str:
    return f"{type(exc).__module__}.{type(exc).__qualname__}"


def _module_of(step: TracebackType) -> str:
    return str(step.tb_frame.f_globals.get("__name__"))


def first_frame(sample: Sample) -> str:
    """ServiceControl and ServicePulse: the exception's type, and type and method of the nearest frame.

    Its source: `Recoverability/Grouping/Groupers/ExceptionTypeAndStackTraceFailureClassifier.cs`.
    """
    steps = _steps(sample.exc)
    place = ""
    if steps:
        code = steps[0].tb_frame.f_code
        place = f"{_module_of(steps[0])}.{getattr(code, 'co_qualname', code.co_name)}"
    return f"{sample.task}|{_type_name(sample.exc)}|{place}"


_ID = "<id>"
_MESSAGE_PARTS = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE), "<uuid>"),
    (re.compile(r"\b[a-z]+_[a-zA-Z0-9]{8,}\b"), _ID),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?"), "<time>"),
    (re.compile(r"https?://\S+"), "<url>"),
    (re.compile(r"\b\d{4,}\b"), _ID),
    (re.compile(r"(/[^/\s]+){2,}"), "<path>"),
    (re.compile(r"[A-Z]:\\([^\\]+\\)+[^\\]+"), "<path>"),
    (re.compile(r"\b[\w.%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b"), "<email>"),
    (re.compile(r"0x[0-9a-fA-F]{8,}"), "<address>"),
    (re.compile(r"(['\"])[^'\"]{20,}\1"), "<text>"),
)


def message_and_five_frames(sample: Sample) -> str:
    """Trigger.dev: type, message without its variable parts, and the five nearest frames without path and line.

    Its source: `apps/webapp/app/utils/errorFingerprinting.ts`.
    """
    message = str(sample.exc)
    for pattern, mark in _MESSAGE_PARTS:
        message = pattern.sub(mark, message)
    frames = [step.tb_frame.f_code for step in _steps(sample.exc)[:5]]
    places = [f"{code.co_name} {code.co_filename.rpartition('/')[2]}" for code in frames]
    return "|".join((sample.task, type(sample.exc).__name__, message, *places))


_PARAMETERS = re.compile(
    r"(?P<email>[\w.+-]+@[\w-]+\.[\w.]+)|(?P<url>\b\w+://\S+)|(?P<ip>\b\d{1,3}(\.\d{1,3}){3}\b)"
    r"|(?P<uuid>\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b)|(?P<sha1>\b[0-9a-f]{40}\b)|(?P<md5>\b[0-9a-f]{32}\b)"
    r"|(?P<date>\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?)|(?P<hex>\b0x[0-9a-fA-F]+\b)"
    r"|(?P<float>-?\b\d+\.\d+\b)|(?P<int>-?\b\d+\b)|(?P<quoted>'[^']*'|\"[^\"]*\")"
)


def frames_then_message(sample: Sample) -> str:
    """Sentry: of each exception of the chain its type and its application frames, or else its message.

    A frame counts with module, function and its line of source; recursive calls count once; without application frames
    all frames count. Its source: `src/sentry/grouping/strategies/newstyle.py` and `grouping/parameterization.py`.
    """
    return "|".join((sample.task, *[_component(exc, sample.app) for exc in _chain(sample.exc)]))


def _chain(exc: BaseException) -> list[BaseException]:
    """As its SDK for Python sends it: causes, contexts that were not suppressed, members of groups."""
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [exc]
    while todo:
        one = todo.pop(0)
        if one is None or any(one is seen for seen in chain):
            continue
        chain.append(one)
        todo.append(one.__cause__ if one.__cause__ or one.__suppress_context__ else one.__context__)
        todo += getattr(one, "exceptions", ())
    return chain


def _component(exc: BaseException, app: str) -> str:
    steps = _steps(exc)
    chosen = [step for step in steps if _in_app(step, app)] or steps
    frames = [name for name, _ in groupby(_frame(step) for step in chosen)]
    return "|".join((_type_name(exc), *(frames or [_PARAMETERS.sub("<p>", str(exc))])))


def _in_app(step: TracebackType, app: str) -> bool:
    """Its SDK takes what is installed for a library, unless told (`in_app_include`); it is told here."""
    name = step.tb_frame.f_code.co_filename
    installed = "site-packages" in name or name.startswith((*_LIBRARIES, "<frozen"))
    return not installed or _module_of(step).partition(".")[0] == app


def _frame(step: TracebackType) -> str:
    code = step.tb_frame.f_code
    line = linecache.getline(code.co_filename, step.tb_lineno or 0).strip()
    return f"{_module_of(step)}:{code.co_name}:{line if len(line) <= 120 else ''}"


#: Name -> rule.
RIVALS = {
    "class + first frame (ServicePulse)": first_frame,
    "class + message + five frames (Trigger.dev)": message_and_five_frames,
    "application frames + class (Sentry-like)": frames_then_message,
}
