"""The arguments of a task's next run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from celery.app.task import Context

__all__ = ("Call", "merged_call")


class Call(NamedTuple):
    """The arguments a task is to run with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def merged_call(run: Callable[..., Any], request: Context, args: Any, kwargs: Any) -> Call:
    """The arguments of a retry: those given, and of the old ones what does not conflict with them, as Celery has it."""
    old_args, old_kwargs = tuple(request.args or ()), dict(request.kwargs or {})
    if args is not None and kwargs is not None:
        return Call(tuple(args), dict(kwargs))
    if args is None and kwargs is None:
        return Call(old_args, old_kwargs)
    try:
        signature = inspect.signature(run)
        if args is not None:
            return Call(tuple(args), _without(signature, len(args), old_kwargs))
        bound = signature.bind_partial(*old_args)
    except (TypeError, ValueError):  # no signature, or one that the old call did not fit: Celery reports that itself
        return Call(old_args if args is None else tuple(args), old_kwargs if kwargs is None else dict(kwargs))
    given = dict(kwargs)
    for name in [name for name in given if name in bound.arguments and _may_be_keyword(signature, name)]:
        bound.arguments[name] = given.pop(name)
    return Call(bound.args, {**bound.kwargs, **given})


def _without(signature: inspect.Signature, count: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    """`kwargs` less those that the first `count` positional arguments now give."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]
    taken = {name for name in positional[:count] if _may_be_keyword(signature, name)}
    return {name: value for name, value in kwargs.items() if name not in taken}


def _may_be_keyword(signature: inspect.Signature, name: str) -> bool:
    return signature.parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
