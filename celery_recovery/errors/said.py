"""What an exception said, without what was filled in: its message, held against the texts of the failing code."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from celery_recovery.errors.functions import functions_of, words_of_class
from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.places import Places
from celery_recovery.errors.reading import is_of, is_written
from celery_recovery.errors.rules.rule import Verdict
from celery_recovery.errors.wording import normal_message

__all__ = ("said",)

#: Their messages quote a name of the code, not a text.
_OF_NAMES = (AttributeError, NameError, ImportError)
_NEAREST = 2  # functions whose texts count as the code's own, besides the one that raised


def said(exc: BaseException, message: str, verdict: Verdict, steps: Sequence[TracebackType], places: Places) -> str:
    """The normal form of `message`, which is that of `exc`.

    `steps`: how it came about. `places`: what counts of them.
    """
    if not message or not steps:
        return normal_message(message)
    coded = verdict.code is not None  # then what was filled in tells nothing new
    if coded and is_of(exc, (OSError,)) and not is_written(type(exc)):
        return ""  # the operating system has one text for each of its codes
    (raiser,) = functions_of(steps[-1:])
    raised = raiser.raises(steps[-1].tb_lasti)
    if verdict.error_type is ErrorType.PARSING and not (raised and raiser in places.functions):
        return ""  # a parser's complaint is about the data
    if not raised and is_of(exc, (ZeroDivisionError,)):
        return ""  # its words are those of the numbers' types
    functions = [raiser, *places.functions[:_NEAREST]]
    lines = [line.texts for line in places.lines]
    words = [words_of_class(type(exc)), *[function.words for function in functions], *lines] if raised else None
    if is_of(exc, _OF_NAMES):
        return normal_message(message, [function.names for function in functions], words, telling=not coded)
    fields = [function.fields for function in functions]
    return normal_message(message, [*lines, *fields], words, telling=not coded)
