"""What becomes of a failure: how often and how slowly it is retried, and what happens in the end.

`RecoveryPolicy` finds the `Course` for one failure: a `RetryPolicy`, and an end. It asks in this order, and the first
that has something to say wins:

    1  the exception's class      most specific class along the MRO first; the task's word before the app's
    2  the task                   `policies={error type: …}`, then `policy=…` for all types
    3  the app                    the setting `recovery_policies`, in the same forms
    4  DEFAULT_POLICIES           and, in the end, the dead letters

Each may speak of the retrying, of the end, or of both; what one leaves open is taken from the next. A `RetryPolicy`
says all there is to say about retrying. A mapping of some of its fields, or a number of attempts, changes what the next
would have said: `{"memory": {"max_attempts": 5}}` keeps the long delays of MEMORY.

**When the classifier is overruled.** A policy normally says only *how* retryable failures are retried: a longer NETWORK
policy does not make an HTTP 404 worth a retry. Where the user has been explicit, the user is right: a policy of more
than one attempt for an exception class, or for one of `PERMANENT_TYPES`, has such failures retried even when the
classifier calls them not retryable. `Course.explicit` tells.
"""

from __future__ import annotations

import builtins
import enum
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from celery_recovery.errors.model import ErrorInfo, ErrorType
from celery_recovery.errors.reading import mro_of, qualified_name
from celery_recovery.exceptions import ConfigurationError, as_member
from celery_recovery.retry_policy import LONGEST_DELAY, NEVER, RetryPolicy

__all__ = (
    "DEFAULT_POLICIES",
    "LONGEST_DELAY",
    "NEVER",
    "PERMANENT_TYPES",
    "Course",
    "RecoveryPolicy",
    "RecoveryStrategy",
    "RetryPolicy",
)


class RecoveryStrategy(str, enum.Enum):
    """What to do about a kind of error. All but RETRY are also what may happen in the end."""

    RETRY = "retry"  # run it again, as the policies below say
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


class RecoveryPolicy:
    """What becomes of a failure, from all that the task and the app say about it (see the module's docstring).

    For a policy of your own derive from this class, override `for_error`, and give an instance as `recovery_policies`
    or as a task's `policies`. It has to be pure: same failure, same answer.
    """

    _layers: tuple[_Layer, ...] = ()  # most specific first

    def __init__(self, policies: Any = None, *, option: str = "recovery_policies") -> None:
        self._layers = _layers(policies, None, option, option)

    @classmethod
    def build(cls, app_policies: Any = None, task_policies: Any = None, task_policy: Any = None) -> RecoveryPolicy:
        """Put the app's setting and a task's `policies=` and `policy=` together; each may be None: nothing said.

        Raises ConfigurationError for what cannot be understood, naming the option down to the key.
        """
        base = app_policies if isinstance(app_policies, RecoveryPolicy) else cls(app_policies)
        return base.refined(task_policies, task_policy)

    def refined(self, policies: Any = None, policy: Any = None) -> RecoveryPolicy:
        """The same with a task's own words in front. A task's RecoveryPolicy instance takes this one's place."""
        if isinstance(policies, RecoveryPolicy):
            return policies.refined(None, policy)
        refined = copy(self)
        refined._layers = (  # noqa: SLF001  # our own copy
            *_layers(policies, policy, "policies", "policy"),
            *self._layers,
        )
        return refined

    def course(self, exc: BaseException | None, info: ErrorInfo) -> Course:
        """`for_error`, whatever an override of it does: if it raises, or answers with no Course, the layers decide."""
        try:
            found: object = self.for_error(exc, info)
        except Exception as raised:  # noqa: BLE001  # the user's code: it may raise anything
            found = raised
        if isinstance(found, Course):
            return found
        layers = RecoveryPolicy.for_error(self, exc, info)
        return layers.replace(source=f"{layers.source} (for_error gave {type(found).__name__})")

    def for_error(self, exc: BaseException | None, info: ErrorInfo) -> Course:
        """The course for one failure. `exc` may be None when only its record is left: then its class name counts."""
        return _resolved([*self._by_class(exc, info), *self._by_type(info.error_type)], info.error_type)

    def _by_class(self, exc: BaseException | None, info: ErrorInfo) -> Iterator[_Word]:
        tables = [layer.classes for layer in self._layers if layer.classes]
        for name in _lineage(exc, info) if tables else ():
            yield from (table[name] for table in tables if name in table)

    def _by_type(self, error_type: ErrorType) -> Iterator[_Word]:
        for layer in self._layers:
            if error_type in layer.types:
                yield layer.types[error_type]
            if layer.overall:
                yield layer.overall


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
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
        return self.policy is not None or bool(self.changes) or self.again

    @property
    def never(self) -> bool:
        return self.policy is not None and self.policy.max_attempts == 1

    @property
    def insists(self) -> bool:
        """The user wants more than one attempt for just this: so be it, whatever the classifier says."""
        attempts = self.policy.max_attempts if self.policy else self.changes.get("max_attempts", 1)
        return self.pointed and (self.again or attempts != 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What a task or an app says, read and checked."""

    classes: Mapping[str, _Word]
    types: Mapping[ErrorType, _Word]
    overall: _Word | None


def _resolved(words: Sequence[_Word], error_type: ErrorType) -> Course:
    """Fold the words, first come first served, over the default."""
    spoken = [word for word in words if word.about_retrying]
    first = spoken[0] if spoken else None
    return Course(
        retry=_folded(spoken, DEFAULT_POLICIES[error_type]),
        end=next((word.end for word in words if word.end), RecoveryStrategy.DEAD_LETTER),
        explicit=first is not None and first.insists,
        source=first.source if first else "default",
    )


def _folded(words: Sequence[_Word], policy: RetryPolicy) -> RetryPolicy:
    """The first whole policy (or `policy`), with the changes of those before it."""
    changes: list[Mapping[str, Any]] = []
    again = False
    for word in words:
        again = again or word.again
        if word.policy is not None and not (again and word.never):
            policy = word.policy
            break
        changes.append(word.changes)
    for change in filter(None, reversed(changes)):
        policy = policy.replace(**change)
    return policy


def _layers(policies: Any, policy: Any, policies_option: str, policy_option: str) -> tuple[_Layer, ...]:
    layers = []
    if policies is not None:
        layers.append(_layer(policies, policies_option))
    if policy is not None:
        layers.append(_Layer(classes={}, types={}, overall=_word(policy, policy_option)))
    return tuple(layers)


def _layer(value: Any, option: str) -> _Layer:
    """Read one layer: a mapping of keys to words, or one word for everything."""
    if not isinstance(value, Mapping) or (value and value.keys() <= _WORD_FIELDS):
        return _Layer(classes={}, types={}, overall=_word(value, option))
    classes: dict[str, _Word] = {}
    types: dict[ErrorType, _Word] = {}
    for given, entry in value.items():
        key = _key(given, option)
        source = f"{option}[{key.value if isinstance(key, ErrorType) else key!r}]"
        if isinstance(key, ErrorType):
            types[key] = _word(entry, source, pointed=key in PERMANENT_TYPES)
        else:
            classes[key] = _word(entry, source, pointed=True)
    return _Layer(classes=classes, types=types, overall=None)


def _word(value: Any, option: str, *, pointed: bool = False) -> _Word:
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
    return _Word(source=option, pointed=pointed, **said)


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


def _lineage(exc: BaseException | None, info: ErrorInfo) -> list[str]:
    """Qualified class names, most specific first."""
    return (
        [info.exception, f"builtins.{info.exception}"]
        if exc is None
        else [qualified_name(cls) for cls in mro_of(type(exc))]
    )


_WORD_FIELDS = {*(item.name for item in fields(RetryPolicy)), "end"}
_TYPE_NAMES = {error_type.value for error_type in ErrorType}

#: Types whose faults, as a rule, the same input meets again. The classifier says of each whether it may pass.
PERMANENT_TYPES = frozenset((ErrorType.VALIDATION, ErrorType.PARSING, ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC))

#: For those few of PERMANENT_TYPES that a rule calls retryable (an optimistic lock that lost, a reply cut in the
#: middle): another try soon, and not many. All others end at their first failure.
_SELDOM = RetryPolicy(max_attempts=3, base_delay=1, max_delay=60)

#: How retryable failures of each type are retried where nobody says otherwise.
DEFAULT_POLICIES: Mapping[ErrorType, RetryPolicy] = MappingProxyType(
    {
        # 1+2+4+…+64 s: a restart or failover of the other side takes up to a minute, and since equal jitter takes at
        # most half away, no outage shorter than 63 s ever uses the attempts up.
        ErrorType.NETWORK: RetryPolicy(max_attempts=8, base_delay=1, max_delay=300),
        # 2+4+…+32 s: deadlocks and locks are gone after the first; a database that restarts needs the whole.
        ErrorType.SYSTEM: RetryPolicy(max_attempts=6, base_delay=2, max_delay=300),
        # 5+10+20+40 s: network file systems come back in seconds; a full disk has to be noticed and cleaned.
        ErrorType.FILESYSTEM: RetryPolicy(max_attempts=5, base_delay=5, max_delay=300),
        # 60+120 s: memory returns when *other* tasks end; each try may hurt them, so few and far between.
        ErrorType.MEMORY: RetryPolicy(max_attempts=3, base_delay=60, max_delay=600),
        # 1+2 s: most unknown errors are bugs, which no retry mends and somebody waits to hear of; two more tries find
        # the lucky rest.
        ErrorType.UNKNOWN: RetryPolicy(max_attempts=3, base_delay=1, max_delay=60),
        ErrorType.VALIDATION: _SELDOM,
        ErrorType.PARSING: _SELDOM,
        ErrorType.SCHEMA: _SELDOM,
        ErrorType.BUSINESS_LOGIC: _SELDOM,
    }
)
