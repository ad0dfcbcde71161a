"""Policies: what a user may write, what is refused and how, and whose word counts for which failure."""

from __future__ import annotations

import copy
import math
import pickle
import random as dice
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.backoff import BackoffStrategy, Jitter
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.policy import (
    DEFAULT_POLICIES,
    LONGEST_DELAY,
    NEVER,
    PERMANENT_TYPES,
    Course,
    RecoveryPolicy,
    RecoveryStrategy,
    RetryPolicy,
)

INFO = ErrorInfo(
    error_type=ErrorType.NETWORK, is_retryable=True, severity=ErrorSeverity.LOW, rule="x", exception="somewhere.Error"
)
PERMANENT = sorted(PERMANENT_TYPES)


class ApiError(Exception):
    """A user's own."""


class ApiTimeout(ApiError, TimeoutError):
    """A more specific one, which is an OSError too."""


def found(
    policy: RecoveryPolicy, exc: BaseException | None = None, error_type: ErrorType = ErrorType.NETWORK
) -> Course:
    """The course for an exception, or for a record without one."""
    return policy.for_error(exc, replace(INFO, error_type=error_type))


# -- RetryPolicy


def test_retry_policy_takes_friendly_forms():
    """Durations as int, float or timedelta become float seconds; enums may be given by their words."""
    policy = RetryPolicy(
        base_delay=2, max_delay=timedelta(minutes=1), backoff="linear", jitter="full", min_delay=1, deadline=3600
    )
    assert (policy.base_delay, policy.max_delay, policy.min_delay, policy.deadline) == (2.0, 60.0, 1.0, 3600.0)
    assert type(policy.base_delay) is float
    assert policy.backoff is BackoffStrategy.LINEAR
    assert policy.jitter is Jitter.FULL


@pytest.mark.parametrize(
    ("field", "nonsense"),
    [
        *[("max_attempts", value) for value in (0, -1, True, False, 2.5, "3", math.inf)],
        *[("base_delay", value) for value in (-1, math.nan, math.inf, True, "1", None, LONGEST_DELAY + 1)],
        *[("max_delay", value) for value in (-1, 0.5, math.inf, None, timedelta(days=400))],
        *[("backoff", value) for value in ("exponentiel", None, 3)],
        *[("jitter", value) for value in ("ful", None, True)],
        *[("min_delay", value) for value in (-1, 301, math.nan, "x")],
        *[("deadline", value) for value in (-1, math.nan, math.inf, "1h")],
    ],
)
def test_retry_policy_refuses_nonsense(field, nonsense):
    """The error names the option, what was expected and what was given."""
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**{field: nonsense})
    assert caught.value.option == f"RetryPolicy.{field}"
    assert caught.value.expected
    assert str(nonsense).lower()[:5] in caught.value.got.lower() or field == "max_delay"


def test_refusal_shows_the_bound_that_was_hit():
    """A maximum below the base says which base."""
    with pytest.raises(ConfigurationError, match=r"max_delay: expected seconds >= base_delay \(10\), got 5"):
        RetryPolicy(base_delay=10, max_delay=5)


def test_retry_policy_is_a_value():
    """It is frozen, compares and hashes by its fields, and can be copied and pickled."""
    policy = RetryPolicy(max_attempts=3)
    with pytest.raises(FrozenInstanceError):
        policy.max_attempts = 4
    assert policy == RetryPolicy(max_attempts=3)
    assert len({policy, RetryPolicy(max_attempts=3)}) == 1
    assert copy.copy(policy) == pickle.loads(pickle.dumps(policy)) == policy


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (RetryPolicy(max_attempts=7), RetryPolicy(max_attempts=7)),
        ({"max_attempts": 7, "jitter": "none"}, RetryPolicy(max_attempts=7, jitter=Jitter.NONE)),
        ({}, RetryPolicy()),
        (7, RetryPolicy(max_attempts=7)),
        (None, NEVER),
        (False, NEVER),
    ],
)
def test_retry_policy_of(value, expected):
    """A policy, a mapping of fields, a number of attempts, or "never"."""
    assert RetryPolicy.of(value) == expected


@pytest.mark.parametrize("nonsense", [True, 0, -3, 2.5, "often", [3], object()])
def test_retry_policy_of_nonsense(nonsense):
    """Anything else is refused under the name that the caller gave."""
    with pytest.raises(ConfigurationError, match=r"^recovery_policies\['network'\]"):
        RetryPolicy.of(nonsense, "recovery_policies['network']")


@pytest.mark.parametrize("write", [RetryPolicy().replace, lambda **fields: RetryPolicy.of(fields)])
def test_unknown_field_is_answered_with_the_nearest(write):
    """A misspelt field is refused, and the one that was meant is named."""
    with pytest.raises(ConfigurationError, match="Did you mean 'max_attempts'"):
        write(max_attemps=3)


def test_replace_moves_the_other_bound():
    """A bound that is not named gives way to one that is; two that are named are not bent."""
    policy = RetryPolicy(base_delay=10, max_delay=100, min_delay=5)
    assert policy.replace(max_delay=2) == RetryPolicy(base_delay=2, max_delay=2, min_delay=2)
    assert policy.replace(base_delay=500) == RetryPolicy(base_delay=500, max_delay=500, min_delay=5)
    assert policy.replace(min_delay=200) == RetryPolicy(base_delay=10, max_delay=200, min_delay=200)
    with pytest.raises(ConfigurationError):
        policy.replace(base_delay=500, max_delay=400)


@pytest.mark.parametrize(("base", "given_floor", "floor"), [(10, None, 0.5), (0.1, None, 0.05), (1, 0, 0), (1, 5, 5)])
def test_floor(base, given_floor, floor):
    """Half of the base, at most half a second, unless the user says otherwise."""
    assert RetryPolicy(base_delay=base, min_delay=given_floor).floor == floor


@given(
    attempt=st.integers(1, 10**12),
    base=st.floats(0, 1e5),
    extra=st.floats(0, 1e5),
    backoff=st.sampled_from([*BackoffStrategy, lambda attempt: -attempt, lambda attempt: attempt**0.5]),
    jitter=st.sampled_from(Jitter),
    previous=st.none() | st.floats(0, 1e6),
    seed=st.integers(),
)
def test_delay_keeps_to_the_policy(attempt, base, extra, backoff, jitter, previous, seed):
    """Floor <= delay <= max_delay, for every policy, attempt and roll of the dice."""
    policy = RetryPolicy(base_delay=base, max_delay=base + extra, backoff=backoff, jitter=jitter)
    assert policy.floor <= policy.delay(attempt, previous, dice.Random(seed)) <= policy.max_delay


# -- the defaults


def test_every_type_has_a_default():
    """No kind of failure is without a policy, and every policy ends."""
    assert set(DEFAULT_POLICIES) == set(ErrorType)
    assert all(policy.max_attempts or policy.deadline for policy in DEFAULT_POLICIES.values())


def test_defaults_cannot_be_changed_by_accident():
    """They are the same for everybody; a user's own go into a setting."""
    with pytest.raises(TypeError):
        DEFAULT_POLICIES[ErrorType.NETWORK] = NEVER


@given(st.integers())
def test_network_default_outlives_a_minute(seed):
    """Whatever the dice, an outage of 63 s does not use up the attempts of a network failure."""
    policy, source = DEFAULT_POLICIES[ErrorType.NETWORK], dice.Random(seed)
    assert sum(policy.delay(attempt, None, source) for attempt in range(1, policy.max_attempts)) >= 63


@pytest.mark.parametrize("error_type", ErrorType)
def test_no_default_retries_at_once(error_type):
    """No default delay is below half a second, so that a herd of retries is never instant."""
    assert DEFAULT_POLICIES[error_type].floor == 0.5


# -- RecoveryPolicy: whose word counts


@pytest.mark.parametrize("error_type", ErrorType)
def test_nothing_said(error_type):
    """Without a word from anybody: the default for the type, then the dead letters."""
    course = found(RecoveryPolicy.build(), error_type=error_type)
    assert course == Course(retry=DEFAULT_POLICIES[error_type])
    assert (course.end, course.explicit, course.source) == (RecoveryStrategy.DEAD_LETTER, False, "default")


@pytest.mark.parametrize("key", [ErrorType.NETWORK, "network"])
@pytest.mark.parametrize(
    "value", [RetryPolicy(max_attempts=4), Course(retry=RetryPolicy(max_attempts=4)), {"max_attempts": 4}, 4]
)
def test_forms_of_a_word(key, value):
    """Keys are error types or their words; values are policies, courses, fields or a number of attempts."""
    assert found(RecoveryPolicy.build({key: value})).retry.max_attempts == 4


def test_a_whole_policy_replaces():
    """A RetryPolicy says all about retrying."""
    policy = RecoveryPolicy.build({"memory": RetryPolicy(max_attempts=4)})
    assert found(policy, error_type=ErrorType.MEMORY).retry == RetryPolicy(max_attempts=4)


@pytest.mark.parametrize("value", [{"max_attempts": 4}, 4])
def test_a_part_of_a_policy_changes(value):
    """Some fields change what the next layer says, and leave the rest of it alone."""
    course = found(RecoveryPolicy.build({"memory": value}), error_type=ErrorType.MEMORY)
    assert course.retry == DEFAULT_POLICIES[ErrorType.MEMORY].replace(max_attempts=4)


@pytest.mark.parametrize("error_type", ErrorType)
@pytest.mark.parametrize("change", [{"max_delay": 0.25}, {"base_delay": 9000}, {"min_delay": 9000}])
def test_any_change_fits_any_default(error_type, change):
    """A bound that was accepted when the app started cannot clash with a default at the first failure."""
    course = found(RecoveryPolicy.build({error_type: change}), error_type=error_type)
    assert {name: getattr(course.retry, name) for name in change} == change


def test_changes_pile_up():
    """The task changes what the app changed in the default; where both name a field, the task's counts."""
    policy = RecoveryPolicy.build(
        {"network": {"max_attempts": 4, "base_delay": 7}}, {"network": {"max_attempts": 5}}, {"jitter": "none"}
    )
    assert found(policy).retry == DEFAULT_POLICIES[ErrorType.NETWORK].replace(
        max_attempts=5, base_delay=7, jitter=Jitter.NONE
    )


def test_order_of_layers():
    """Exception class, then the task's types, then the task's one policy, then the app, then the default."""
    app = {"network": 11, "system": 12, OSError: 13}
    task = {"network": 14, ApiError: 15}
    policy = RecoveryPolicy.build(app, task, 16)
    assert found(policy, ApiError()).retry.max_attempts == 15
    assert found(policy, OSError()).retry.max_attempts == 13
    assert found(policy, KeyError()).retry.max_attempts == 14
    assert found(policy, KeyError(), ErrorType.SYSTEM).retry.max_attempts == 16
    assert found(RecoveryPolicy.build(app), KeyError(), ErrorType.SYSTEM).retry.max_attempts == 12
    assert found(RecoveryPolicy.build(17, task), KeyError(), ErrorType.SYSTEM).retry.max_attempts == 17
    assert found(RecoveryPolicy.build(app), KeyError(), ErrorType.MEMORY).retry == DEFAULT_POLICIES[ErrorType.MEMORY]


@pytest.mark.parametrize("key", [ApiError, f"{ApiError.__module__}.ApiError"])
def test_exception_classes_and_their_dotted_names(key):
    """A class and its dotted name mean the same, and cover its subclasses. Naming it imports nothing."""
    policy = RecoveryPolicy.build({key: 4})
    assert found(policy, ApiTimeout()).retry.max_attempts == 4
    assert found(policy, ValueError()).retry == DEFAULT_POLICIES[ErrorType.NETWORK]
    assert RecoveryPolicy.build({"a.library.that.IsNotInstalled": 4})


@pytest.mark.parametrize("key", ["OSError", "builtins.OSError"])
def test_builtin_exceptions_need_no_module(key):
    """Built-in exceptions go by their plain name too."""
    assert found(RecoveryPolicy.build({key: 4}), ConnectionError()).retry.max_attempts == 4


def test_most_specific_class_wins():
    """Along the MRO the nearest class counts, wherever it was said; for the same class the task's word."""
    policy = RecoveryPolicy.build({ApiTimeout: 4, OSError: 5}, {ApiError: 6, OSError: 7})
    assert found(policy, ApiTimeout()).retry.max_attempts == 4
    assert found(policy, ApiError()).retry.max_attempts == 6
    assert found(policy, OSError()).retry.max_attempts == 7


def test_a_record_without_its_exception():
    """Where only the record is left, its class name is looked up."""
    policy = RecoveryPolicy.build({"somewhere.Error": 4, "ValueError": 5})
    assert found(policy, None).retry.max_attempts == 4
    for name in ("ValueError", "builtins.ValueError"):
        assert policy.for_error(None, replace(INFO, exception=name)).retry.max_attempts == 5


# -- RecoveryPolicy: the end


@pytest.mark.parametrize("end", [RecoveryStrategy.DEAD_LETTER, RecoveryStrategy.MANUAL_REVIEW, RecoveryStrategy.FAIL])
@pytest.mark.parametrize("by", [lambda end: end, lambda end: end.value])
def test_a_strategy_ends_it(end, by):
    """A strategy other than "retry" means: no retry, and that is the end."""
    course = found(RecoveryPolicy.build({"network": by(end)}))
    assert (course.retry, course.end) == (NEVER, end)


def test_end_alone_leaves_retrying_alone():
    """A mapping with only `end` says what happens in the end, and no more."""
    course = found(RecoveryPolicy.build({"network": {"end": "manual_review"}}))
    assert course.retry == DEFAULT_POLICIES[ErrorType.NETWORK]
    assert course.end is RecoveryStrategy.MANUAL_REVIEW


def test_end_and_retrying_come_from_different_layers():
    """The task speaks of attempts, the app of the end: both are heard."""
    course = found(RecoveryPolicy.build({"network": {"end": "fail", "max_attempts": 9}}, {"network": 4}))
    assert (course.retry.max_attempts, course.end) == (4, RecoveryStrategy.FAIL)


def test_one_mapping_for_all_types():
    """A mapping whose keys are fields is one policy for everything."""
    policy = RecoveryPolicy.build({"max_attempts": 4, "end": "fail"})
    assert {found(policy, error_type=kind).retry.max_attempts for kind in ErrorType} == {4}
    assert found(policy).end is RecoveryStrategy.FAIL


@pytest.mark.parametrize("never", [None, False, 1, NEVER, "dead_letter"])
def test_retry_overrides_a_never_below(never):
    """Asking for "retry" means the policy further down, and a "never" is none."""
    course = found(RecoveryPolicy.build({"network": never}, {"network": "retry"}))
    assert course.retry == DEFAULT_POLICIES[ErrorType.NETWORK]


# -- RecoveryPolicy: who overrules the classifier


@pytest.mark.parametrize("key", [*PERMANENT, ApiError])
@pytest.mark.parametrize("value", ["retry", 3, {"max_attempts": None}, RetryPolicy(), Course(retry=RetryPolicy())])
def test_explicit(key, value):
    """More than one attempt for an exception class, or for a type that is not retried as a rule: the user insists."""
    error_type = key if isinstance(key, ErrorType) else ErrorType.NETWORK
    assert found(RecoveryPolicy.build(None, {key: value}), ApiTimeout(), error_type).explicit


@pytest.mark.parametrize("error_type", [kind for kind in ErrorType if kind not in PERMANENT_TYPES])
@pytest.mark.parametrize("value", ["retry", 3, RetryPolicy(max_attempts=20)])
def test_tuning_is_not_insisting(error_type, value):
    """A policy for a type that *is* retried says how, and leaves it to the classifier which of its failures are."""
    assert not found(RecoveryPolicy.build({error_type: value}), error_type=error_type).explicit


@pytest.mark.parametrize("value", [1, None, NEVER, "fail", "dead_letter", {"base_delay": 5}, {"end": "fail"}])
@pytest.mark.parametrize("key", ["validation", ApiError])
def test_saying_something_else_is_not_insisting(key, value):
    """Never, an end, or a delay without attempts: nobody asked for retries of what is not retryable."""
    assert not found(RecoveryPolicy.build({key: value}), ApiError(), ErrorType.VALIDATION).explicit


def test_one_policy_for_all_is_not_insisting():
    """`policy=` for the whole task does not make bad input worth a retry."""
    assert not found(RecoveryPolicy.build(None, None, 5), error_type=ErrorType.VALIDATION).explicit


def test_the_nearest_word_decides_who_insists():
    """An app that insists is overruled by a task that does not, and the course names whose word it was."""
    policy = RecoveryPolicy.build({"validation": 3}, {"validation": {"base_delay": 9}})
    course = found(policy, error_type=ErrorType.VALIDATION)
    assert (course.explicit, course.source) == (False, "policies['validation']")
    assert found(RecoveryPolicy.build({"validation": 3}), error_type=ErrorType.VALIDATION).source == (
        "recovery_policies['validation']"
    )


# -- RecoveryPolicy: nonsense


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"netwrk": 3}, r"recovery_policies key: .*got 'netwrk'\. Did you mean 'network'"),
        ({"max_atempts": 3}, r"recovery_policies key: .*Did you mean 'max_attempts'"),
        ({int: 3}, r"recovery_policies key: expected an error type, an exception class"),
        ({7: 3}, r"recovery_policies key: .*got 7"),
        ({"network": {"max_delay": -3}}, r"recovery_policies\['network'\]\.max_delay: expected seconds .*, got -3\."),
        ({"network": {"max_dely": 3}}, r"recovery_policies\['network'\]\.max_dely: .*Did you mean 'max_delay'"),
        ({"network": "rety"}, r"recovery_policies\['network'\]: .*Did you mean 'retry'"),
        ({"network": True}, r"recovery_policies\['network'\]: .*got True"),
        ({"network": {"end": "retry"}}, r"recovery_policies\['network'\]\.end: .*got 'retry'"),
        ({"network": {"end": 3}}, r"recovery_policies\['network'\]\.end: expected one of retry, dead_letter"),
        ({ApiError: 0}, r"recovery_policies\['.*ApiError'\]: expected a whole number >= 1"),
        ("often", r"recovery_policies: expected one of retry"),
        (object(), r"recovery_policies: expected a RetryPolicy"),
    ],
)
def test_nonsense_is_refused_when_the_app_starts(policies, message):
    """Every mistake is found while reading, and named down to its key, with the nearest name where one is near."""
    with pytest.raises(ConfigurationError, match=message):
        RecoveryPolicy.build(policies)


def test_the_task_is_named_too():
    """A mistake of a task is told by the task's option."""
    with pytest.raises(ConfigurationError, match=r"^policies\['network'\]"):
        RecoveryPolicy.build(None, {"network": 0})
    with pytest.raises(ConfigurationError, match=r"^policy\.jitter"):
        RecoveryPolicy.build(None, None, {"jitter": "much"})


# -- RecoveryPolicy: custom policies


class Patient(RecoveryPolicy):
    """Somebody's own: twice the attempts on weekends, with state of its own and no call to our `__init__`."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def for_error(self, exc: BaseException | None, info: ErrorInfo) -> Course:
        course = super().for_error(exc, info)
        return course.replace(retry=course.retry.replace(max_attempts=course.retry.max_attempts * self.factor))


def test_custom_policy_of_an_app():
    """An instance of a subclass may be the setting, and a task's own words still come before it."""
    policy = RecoveryPolicy.build(Patient(2), {"network": 5})
    assert found(policy).retry.max_attempts == 10
    assert found(policy, error_type=ErrorType.UNKNOWN).retry.max_attempts == 6


def test_custom_policy_of_a_task():
    """A task's own instance takes the place of the app's policies."""
    policy = RecoveryPolicy.build({"network": 5}, Patient(3))
    assert found(policy).retry.max_attempts == 3 * DEFAULT_POLICIES[ErrorType.NETWORK].max_attempts


def test_refining_leaves_the_original_alone():
    """All tasks share the app's policy; what one adds is its own."""
    app = RecoveryPolicy({"network": 5})
    assert found(app.refined({"network": 6})).retry.max_attempts == 6
    assert found(app).retry.max_attempts == 5


@pytest.mark.parametrize("answer", [ZeroDivisionError(), None, RetryPolicy(), "retry"])
def test_custom_policy_that_fails(answer):
    """An override that raises, or answers with no Course, does no harm: the layers decide, and the source shows it."""

    class Broken(RecoveryPolicy):
        def for_error(self, exc: BaseException | None, info: ErrorInfo) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    course = Broken({"network": 5}).course(None, INFO)
    assert course.retry.max_attempts == 5
    assert type(answer).__name__ in course.source


def test_course_is_for_error():
    """`course` adds nothing to an override that works."""
    assert Patient(2).course(None, INFO) == Patient(2).for_error(None, INFO)


def test_hostile_class():
    """A class that lies about its names and its MRO is looked up by the real ones."""

    class Liar(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]
            raise RuntimeError

        def __getattribute__(cls, name: str) -> Any:
            raise RuntimeError

    hostile = Liar("Hostile", (OSError,), {})
    assert found(RecoveryPolicy.build({OSError: 5}), hostile()).retry.max_attempts == 5
