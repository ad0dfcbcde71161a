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

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import Any

from celery_recovery.errors.model import ErrorInfo, ErrorType
from celery_recovery.errors.reading import mro_of, qualified_name
from celery_recovery.policy_words import PERMANENT_TYPES, Course, Layer, RecoveryStrategy, Word, layers_of
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


class RecoveryPolicy:
    """What becomes of a failure, from all that the task and the app say about it (see the module's docstring).

    For a policy of your own derive from this class, override `for_error`, and give an instance as `recovery_policies`
    or as a task's `policies`. It has to be pure: same failure, same answer.
    """

    _layers: tuple[Layer, ...] = ()  # most specific first

    def __init__(self, policies: Any = None, *, option: str = "recovery_policies") -> None:
        self._layers = layers_of(policies, None, option, option)

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
            *layers_of(policies, policy, "policies", "policy"),
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

    def _by_class(self, exc: BaseException | None, info: ErrorInfo) -> Iterator[Word]:
        tables = [layer.classes for layer in self._layers if layer.classes]
        for name in _lineage(exc, info) if tables else ():
            yield from (table[name] for table in tables if name in table)

    def _by_type(self, error_type: ErrorType) -> Iterator[Word]:
        for layer in self._layers:
            if error_type in layer.types:
                yield layer.types[error_type]
            if layer.overall:
                yield layer.overall


def _resolved(words: Sequence[Word], error_type: ErrorType) -> Course:
    """Fold the words, first come first served, over the default."""
    spoken = [word for word in words if word.about_retrying]
    first = spoken[0] if spoken else None
    return Course(
        retry=_folded(spoken, DEFAULT_POLICIES[error_type]),
        end=next((word.end for word in words if word.end), RecoveryStrategy.DEAD_LETTER),
        explicit=first is not None and first.insists,
        source=first.source if first else "default",
    )


def _folded(words: Sequence[Word], policy: RetryPolicy) -> RetryPolicy:
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


def _lineage(exc: BaseException | None, info: ErrorInfo) -> list[str]:
    """Qualified class names, most specific first."""
    return (
        [info.exception, f"builtins.{info.exception}"]
        if exc is None
        else [qualified_name(cls) for cls in mro_of(type(exc))]
    )


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
