"""Whether arguments fit a task, asked of the task that is registered here and without calling it.

First as Celery checks a call: by `__header__`, the signature of the function that was made a task. That says nothing of
a function behind a decorator that takes `*args, **kwargs`, and a task that is a class has none. So the arguments are
also bound to `inspect.signature` of `run`, which looks behind decorators (`functools.wraps`), knows positional-only
parameters, and leaves out the `self` of bound tasks and of classes. What that refuses is refused here

- where nothing stands before the function, where a decorator says what it takes (`__signature__`), and with
  `pydantic=True`: that wrapper binds the same signature itself;
- behind any other decorator, and behind a `__call__` of the task's own, only where the letter fitted before the edit.
  These may add arguments, as a session, or drop some. A letter that fits shows that they do not. One that only lacks
  some shows that they add them: some may be lacking afterwards, too, but none be too many. Of a letter that fits in
  neither way nothing is known, and `__header__` is all there is: an edit that may be right is not refused.

Parameters that are annotated with a pydantic model, of a task with `pydantic=True`, are checked as the task itself does
before its body runs.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Celery
from celery.app import base
from celery.utils.annotations import annotation_issubclass, get_optional_arg

from celery_recovery.exceptions import ConfigurationError

__all__ = ("check_call", "parameters", "parameters_of")

#: Where the `__call__` is defined that hands its arguments on as they are.
_PLAIN_CALLS = ("celery.app.task", "celery_recovery.task")


def check_call(
    app: Celery,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    before: tuple[Sequence[Any], Mapping[str, Any]] | None = None,
) -> None:
    """Raises `ConfigurationError` when the task is not registered here, or does not take these arguments.

    `before`: those of the letter as it is.
    """
    task = app.tasks.get(name)
    if task is None:
        expected = "a task that this app knows, to see what arguments it takes"
        hint = "Import its module (setting include), or do not validate."
        raise ConfigurationError.of("set", expected=expected, got=name, hint=hint)
    why, hint = _refusal(getattr(task, "__header__", None), args, kwargs), ""
    signature = _signature(task)
    if not why and signature is not None:
        bind: Callable[..., Any] | None = signature.bind
        if not _is_certain(task):
            hint = "If what stands before its function takes them, do not validate."
            ways = (signature.bind, signature.bind_partial)
            bind = None if before is None else next((way for way in ways if not _refusal(way, *before)), None)
        why = _refusal(bind, args, kwargs)
    if why:
        raise ConfigurationError.of("set", expected=f"arguments that {name} takes", got=why, hint=hint)
    function = _function(task)
    if signature is not None and _is_pydantic(function):
        _check_models(app, name, function, signature.bind(*args, **kwargs).arguments)


def parameters(app: Celery, name: str) -> tuple[str, ...]:
    """`parameters_of` a task that is registered here; nothing of any other."""
    task = app.tasks.get(name)
    return () if task is None else parameters_of(task)


def parameters_of(task: Any) -> tuple[str, ...]:
    """Names of a task's positional parameters, in order; `*rest` for all further ones."""
    signature = _signature(task)
    found = () if signature is None else signature.parameters.values()
    fixed = [one.name for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return (*fixed, *(f"*{one.name}" for one in found if one.kind is one.VAR_POSITIONAL))


def _signature(task: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(task.run)
    except (TypeError, ValueError, AttributeError, NameError):  # built in, no function, or its annotations are not here
        return None


def _refusal(call: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Why the arguments cannot be had by this (an empty function, or `bind`); empty: they can, or nobody knows."""
    if call is not None:
        try:
            call(*args, **kwargs)
        except TypeError as exc:
            return str(exc)
    return ""


def _function(task: Any) -> Any:
    """What was made a task, without the wrapper that Celery puts around it for `autoretry_for`."""
    body = getattr(task, "_orig_run", task.run)
    return getattr(body, "__func__", body)


def _is_certain(task: Any) -> bool:
    """Whether the signature is what the task takes: nothing is before its function that may add or drop arguments."""
    function = _function(task)
    if _is_pydantic(function):
        return True
    if type(task).__call__.__module__ not in _PLAIN_CALLS:
        return False
    return not hasattr(function, "__wrapped__") or hasattr(function, "__signature__")


def _is_pydantic(function: Any) -> bool:
    """Celery's wrapper of `pydantic=True`: the one function of that module that becomes a `run`."""
    return getattr(function, "__globals__", None) is vars(base)


def _check_models(app: Celery, name: str, wrapper: Any, arguments: Mapping[str, Any]) -> None:
    from pydantic import BaseModel, ValidationError

    try:
        hints = typing.get_type_hints(wrapper.__wrapped__)
    except (NameError, AttributeError, TypeError):
        return  # the worker, where the names may be known, will tell
    options = _options(app, name, wrapper)
    for parameter, value in arguments.items():
        hint = hints.get(parameter)
        model: Any = hint if value is None else get_optional_arg(hint) or hint
        if not annotation_issubclass(model, BaseModel):
            continue
        expected = f"what the model {model.__name__} takes, as {parameter} of {name}"
        try:
            model.model_validate(value, **options)
        except ValidationError as exc:
            told = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in exc.errors(include_input=False))
            raise ConfigurationError.of("set", expected=expected, got="; ".join(told)) from None
        except Exception as exc:  # a validator of the user's may fail in any way
            raise ConfigurationError.of("set", expected=expected, got=f"{type(exc).__name__}: {exc}") from exc


def _options(app: Celery, name: str, wrapper: Any) -> dict[str, Any]:
    """Celery's `pydantic_strict` and `pydantic_context`, which only the wrapper around the task's function knows."""
    known = dict(inspect.getclosurevars(wrapper).nonlocals)
    if inspect.isfunction(inner := known.get("validate_argument")):
        known |= inspect.getclosurevars(inner).nonlocals
    context = {**(known.get("context") or {}), "celery_app": app, "celery_task_name": name}
    return {"strict": known.get("strict"), "context": context}
