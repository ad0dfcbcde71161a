"""What users say about failures, read and checked: one `Word` for each entry of an option, one `Layer` for each option.

The forms that may be written, at each level, are read here and nowhere else. Which word wins is `RecoveryPolicy`'s
to say.
"""

from __future__ import annotations

import builtins
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.reading import qualified_name
from celery_recovery.exceptions import ConfigurationError, as_member
from celery_recovery.retry_policy import NEVER, RetryPolicy

__all__ = ("PERMANENT_TYPES", "Course", "Layer", "RecoveryStrategy", "Word", "layers_of")

#: Types whose faults, as a rule, the same input meets again. The classifier says of each whether it may pass.
PERMANENT_TYPES = frozenset((ErrorType.VALIDATION, ErrorType.PARSING, ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC))


class RecoveryStrategy(str, enum.Enum):
    """What to do about a kind of error. All but RETRY are also what may happen in the end."""

    RETRY = "retry"  # run it again, as the `RetryPolicy` says
    DEAD_LETTER = "dead_letter"  # keep it where it can be replayed
    MANUAL_REVIEW = "manual_review"  # keep it, and let a person approve it first
    FAIL = "fail"  # let it fail as plain Celery would

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What to do about one failure."""

    #: How it is retried, if it is.
    retry: RetryPolicy
    #: What happens when it is not, or no more; never RETRY.
    end: RecoveryStrategy = RecoveryStrategy.DEAD_LETTER
    #: The user asked for retries of just this kind of failure, whatever the classifier thinks of it.
    explicit: bool = False
    #: Which option said so, e.g. `"policies['network']"`; `"default"` when none did.
    source: str = "default"

    def replace(self, **changes: Any) -> Course:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What one entry of one layer says about one kind of failure."""

    #: The entry's full name.
    source: str
    #: It is about an exception class, or about a type whose faults are not retried as a rule.
    pointed: bool
    #: All about retrying; None: not said.
    policy: RetryPolicy | None = None
    #: Some fields of it, when it does not say all.
    changes: Mapping[str, Any] = field(default_factory=dict)
    #: "Retry", without saying how: a "never" further down does not count.
    again: bool = False
    #: What happens in the end; None: not said.
    end: RecoveryStrategy | None = None

    @property
    def about_retrying(self) -> bool:
        """It says something about retrying."""
        return self.policy is not None or bool(self.changes) or self.again

    @property
    def never(self) -> bool:
        """It says that nothing is retried."""
        return self.policy is not None and self.policy.max_attempts == 1

    @property
    def insists(self) -> bool:
        """The user wants more than one attempt for just this: so be it, whatever the classifier says."""
        attempts = self.policy.max_attempts if self.policy else self.changes.get("max_attempts", 1)
        return self.pointed and (self.again or attempts != 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What a task or an app says, read and checked."""

    classes: Mapping[str, Word]
    types: Mapping[ErrorType, Word]
    overall: Word | None


def layers_of(policies: Any, policy: Any, policies_option: str, policy_option: str) -> tuple[Layer, ...]:
    """The layers of a `policies` option and of a `policy` option; None: nothing said.

    Raises ConfigurationError, naming the option down to the key.
    """
    layers = []
    if policies is not None:
        layers.append(_layer(policies, policies_option))
    if policy is not None:
        layers.append(Layer(classes={}, types={}, overall=_word(policy, policy_option)))
    return tuple(layers)


def _layer(value: Any, option: str) -> Layer:
    """Read one layer: a mapping of keys to words, or one word for everything."""
    if not isinstance(value, Mapping) or (value and value.keys() <= _WORD_FIELDS):
        return Layer(classes={}, types={}, overall=_word(value, option))
    classes: dict[str, Word] = {}
    types: dict[ErrorType, Word] = {}
    for given, entry in value.items():
        key = _key(given, option)
        source = f"{option}[{key.value if isinstance(key, ErrorType) else key!r}]"
        if isinstance(key, ErrorType):
            types[key] = _word(entry, source, pointed=key in PERMANENT_TYPES)
        else:
            classes[key] = _word(entry, source, pointed=True)
    return Layer(classes=classes, types=types, overall=None)


def _word(value: Any, option: str, *, pointed: bool = False) -> Word:
    """Read one entry: a strategy, a Course, or one of `RetryPolicy.of`'s forms, a mapping also with `end`."""
    said: dict[str, Any]
    if isinstance(value, Course):
        said = {"policy": value.retry, "end": value.end}
    elif isinstance(value, str):
        strategy = as_member(RecoveryStrategy, value, option)
        said = {"again": True} if strategy is RecoveryStrategy.RETRY else {"policy": NEVER, "end": strategy}
    elif isinstance(value, Mapping):
        said = _partial(value, option)
    else:
        policy = RetryPolicy.of(value, option)
        whole = isinstance(value, RetryPolicy) or policy.max_attempts == 1
        said = {"policy": policy} if whole else {"changes": {"max_attempts": policy.max_attempts}}
    return Word(source=option, pointed=pointed, **said)


def _partial(value: Mapping[str, Any], option: str) -> dict[str, Any]:
    """What a mapping of some fields says, checked; `end` is not a RetryPolicy's."""
    named = [name for name in value if name != "end"]
    policy = RetryPolicy.of({name: value[name] for name in named}, option)
    end = _end(value["end"], f"{option}.end") if "end" in value else None
    return {"changes": {name: getattr(policy, name) for name in named}, "end": end}


def _end(value: Any, option: str) -> RecoveryStrategy:
    end = as_member(RecoveryStrategy, value, option)
    if end is RecoveryStrategy.RETRY:
        raise ConfigurationError.of(option, expected="what happens after the last retry", got=str(end))
    return end


def _key(key: Any, option: str) -> ErrorType | str:
    """An error type, or an exception class as its qualified name (no class is imported to be recognised)."""
    if isinstance(key, type) and issubclass(key, BaseException):
        return qualified_name(key)
    if isinstance(key, str):
        if key in _TYPE_NAMES:
            return ErrorType(key)
        if "." in key:
            return key
        builtin = getattr(builtins, key, None)
        if isinstance(builtin, type) and issubclass(builtin, BaseException):
            return qualified_name(builtin)
    raise ConfigurationError.of(
        f"{option} key",
        expected="an error type, an exception class or its dotted name",
        got=key,
        known=[*_TYPE_NAMES, *_WORD_FIELDS],
    )


_WORD_FIELDS = {*(item.name for item in fields(RetryPolicy)), "end"}
_TYPE_NAMES = {error_type.value for error_type in ErrorType}
