"""Whether arguments fit a task, asked of the task that is registered here and without calling it.

The signature is checked as Celery does when a task is called; parameters that are annotated with a pydantic model, of a
task with `pydantic=True`, as the task itself does before its body runs.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from celery_recovery.exceptions import ConfigurationError

__all__ = ("check_call", "parameters", "parameters_of")


def check_call(app: Celery, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raises `ConfigurationError` when the task is not registered here, or does not take these arguments."""
    task = app.tasks.get(name)
    if task is None:
        expected = "a task that this app knows, to see what arguments it takes"
        hint = "Import its module (setting include), or do not validate."
        raise ConfigurationError.of("set", expected=expected, got=name, hint=hint)
    try:
        task.__header__(*args, **kwargs)
    except TypeError as exc:
        raise ConfigurationError.of("set", expected=f"arguments that {name} takes", got=str(exc)) from None
    if hasattr(task.run, "__wrapped__"):
        _check_models(name, task.run, args, kwargs)


def parameters(app: Celery, name: str) -> tuple[str, ...]:
    """`parameters_of` a task that is registered here; nothing of any other."""
    task = app.tasks.get(name)
    return () if task is None else parameters_of(task)


def parameters_of(task: Any) -> tuple[str, ...]:
    """Names of a task's positional parameters, in order; `*rest` for all further ones."""
    try:
        found = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError, AttributeError):  # built in, or no function at all
        return ()
    fixed = [one.name for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return (*fixed, *(f"*{one.name}" for one in found if one.kind is one.VAR_POSITIONAL))


def _check_models(name: str, run: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    try:
        from pydantic import BaseModel, ValidationError
    except ImportError:
        return
    inner = inspect.unwrap(run)
    try:
        hints = typing.get_type_hints(inner)
    except (NameError, AttributeError, TypeError):
        return  # the worker, where the names may be known, will tell
    if not any(_model(hint, BaseModel) for hint in hints.values()):
        return
    for parameter, value in inspect.signature(run).bind(*args, **kwargs).arguments.items():
        model = _model(hints.get(parameter), BaseModel)
        if model is None or (value is None and type(None) in typing.get_args(hints[parameter])):
            continue
        try:
            model.model_validate(value, strict=_strict(run))
        except ValidationError as exc:
            why = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in exc.errors(include_input=False)
            )
            raise ConfigurationError.of(
                "set", expected=f"a {model.__name__} as {parameter} of {name}", got=why
            ) from None


def _model(hint: Any, base: type) -> Any:
    """The pydantic model that a hint names, as `Order` or `Order | None`; else None."""
    found = [one for one in (hint, *typing.get_args(hint)) if inspect.isclass(one) and issubclass(one, base)]
    return found[0] if found else None


def _strict(run: Any) -> bool | None:
    """Celery's `pydantic_strict`, which only the wrapper around the task's function knows."""
    known = inspect.getclosurevars(getattr(run, "__func__", run))
    strict = known.nonlocals.get("strict")
    inner = known.nonlocals.get("validate_argument")
    if strict is None and inspect.isfunction(inner):
        strict = inspect.getclosurevars(inner).nonlocals.get("strict")
    return strict if isinstance(strict, bool) else None
