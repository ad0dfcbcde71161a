"""Who is right about an exception: the order in which rules are asked, and how wrappers are looked through.

Of one exception, the first of these that knows it counts:

1. the user's rules;
2. rules for its class or a library class it derives from, most specific first;
3. protocols: attributes that mean the same everywhere (only where a library does not speak for the class);
4. members, if it is a group: transient only if every member is; the type is that of the worst member, i.e. the first of
   those that are permanent, else the first of the most severe;
5. the operating system's number, and the built-in classes that stand for one;
6. its explicit cause, if the class says nothing itself (`raise Wrapper from cause`), or else an exception that it
   carries as an argument or in an attribute such as `orig` or `reason`; never its mere context;
7. what the class is called;
8. the built-in class it derives from;
9. what an opaque class says in its message.

A cause that is only a plain built-in error (a KeyError, a ValueError) knows less than a class name that tells what
happened: then 7 comes first. A name that only tells where (`GatewayError`) knows less than any cause.
Flags such as `retryable` and waits such as `retry_after` on a class that no rule of 1 and 2 knows correct the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import args_of, attr, cause_of, has_attributes, text_of
from celery_recovery.errors.rules.names import SUBJECT, by_message
from celery_recovery.errors.rules.protocols import wait_of, wishes
from celery_recovery.errors.rules.rule import Answer, Look, Through, Verdict
from celery_recovery.errors.rules.table import Plan, Step, Table

__all__ = ("SEVERITY", "UNKNOWN", "Case", "Ruling", "answer_of", "verdict_of")

#: Nothing is known: a few attempts are worth while (the policy for UNKNOWN says how many).
UNKNOWN = Verdict(ErrorType.UNKNOWN, True)
#: Exceptions looked at for one ruling, and how many of them deep; beyond that nothing is followed.
_LOOKS, _DEPTH = 200, 30
_MEMBERS, _HELD_ARGS = 50, 4
_HOLDERS = (
    "orig",
    "original",
    "original_error",
    "original_exception",
    "inner",
    "inner_exception",
    "wrapped",
    "reason",
    "cause",
    "exc",
    "exception",
    "error",
    "last_error",
    "last_exception",
    "underlying",
    "underlying_error",
    "underlying_exception",
    "source",
    "source_error",
    "nested",
    "inner_error",
    "root_cause",
)
_COLLECTIONS = ("errors", "exceptions", "causes", "failures")

#: How bad a type is where the rule itself does not say. Rules say HIGH for credentials, certificates, settings, file
#: permissions, exhausted descriptors and lost workers, CRITICAL for full disks.
SEVERITY = {
    ErrorType.NETWORK: ErrorSeverity.MEDIUM,
    ErrorType.FILESYSTEM: ErrorSeverity.MEDIUM,
    ErrorType.MEMORY: ErrorSeverity.HIGH,
    ErrorType.VALIDATION: ErrorSeverity.LOW,
    ErrorType.PARSING: ErrorSeverity.LOW,
    ErrorType.SCHEMA: ErrorSeverity.MEDIUM,
    ErrorType.BUSINESS_LOGIC: ErrorSeverity.LOW,
    ErrorType.SYSTEM: ErrorSeverity.MEDIUM,
    ErrorType.UNKNOWN: ErrorSeverity.MEDIUM,
}
_RANK = {severity: rank for rank, severity in enumerate(ErrorSeverity)}
_PERMANENT_TYPES = frozenset({ErrorType.VALIDATION, ErrorType.PARSING, ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC})


class Ruling(NamedTuple):
    """A verdict, who gave it, and on which exception (the wrapper's inside, if it was looked through)."""

    verdict: Verdict
    rule: str
    exc: BaseException
    #: False if it rests only on a plain built-in class, a name or a message.
    certain: bool = True


class UserRule(NamedTuple):
    """One rule of the user's; `look` may answer with an ErrorType, too."""

    name: str
    look: Any


def verdict_of(answer: Any) -> Verdict | Through | None:
    """A user's answer in our terms; an `ErrorType` alone is permanent if it is about data or the domain."""
    if isinstance(answer, ErrorType):
        return Verdict(answer, answer not in _PERMANENT_TYPES)
    return answer if isinstance(answer, (Verdict, Through)) else None


def answer_of(rule: Verdict | Look, exc: BaseException) -> Answer:
    """What a rule says; a look that raises says nothing."""
    if type(rule) is Verdict:
        return rule
    try:
        return verdict_of(rule(exc))  # type: ignore[operator]
    except BaseException:
        return None


class Case:
    """One exception under judgement: remembers what was looked at, so that cycles end."""

    __slots__ = ("_depth", "_seen", "_table", "_user", "_waitless")

    def __init__(self, table: Table, user: Sequence[UserRule]) -> None:
        self._table = table
        self._user = user
        self._seen: list[BaseException] = []
        self._depth = 0
        self._waitless: BaseException | None = None  # asked for a wait, without success

    def judge(self, exc: BaseException) -> Ruling | None:
        """The ruling on `exc`; None when nothing is known."""
        if self._depth >= _DEPTH or len(self._seen) >= _LOOKS or any(seen is exc for seen in self._seen):
            return None
        self._seen.append(exc)
        self._depth += 1
        ruling = self._judge(exc)
        self._depth -= 1
        return ruling

    def _judge(self, exc: BaseException) -> Ruling | None:
        plan = self._table.plan(type(exc))
        known = self._by_user(exc) or self._by_steps(plan.specific, exc)
        if known is not None:
            return self._with_wait(known)
        return self._by_shape(exc, plan)

    def _by_user(self, exc: BaseException) -> Ruling | None:
        for rule in self._user:
            answer = answer_of(rule.look, exc)
            if answer is not None:
                return self._ruled(answer, f"user.{rule.name}", "user", exc)
        return None

    def _by_steps(self, steps: Iterable[Step], exc: BaseException) -> Ruling | None:
        for step in steps:
            answer = answer_of(step.answer, exc)
            if answer is not None:
                return self._ruled(answer, step.name, step.family, exc)
        return None

    def _ruled(self, answer: Verdict | Through, rule: str, family: str, exc: BaseException) -> Ruling:
        if isinstance(answer, Through):
            inner = self.judge(answer.inner) if isinstance(answer.inner, BaseException) else None
            if inner is not None:
                return inner
            answer = answer.otherwise
        return Ruling(answer, f"{family}.{answer.rule}" if answer.rule else rule, exc)

    def _by_shape(self, exc: BaseException, plan: Plan) -> Ruling | None:
        """Steps 3 to 9, for classes that no library speaks for."""
        found = self._by_members(exc, plan)
        if plan.builtin:
            return found or self._by_class(exc, plan)
        if not (_has_shape(exc, plan) or type(next(iter(args_of(exc)), None)) in (int, dict)):
            return found or self._by_class(exc, plan)
        found = found or self._by_steps(self._table.protocols, exc) or self._by_class(exc, plan)
        return _as_wished(exc, found)

    def _by_members(self, exc: BaseException, plan: Plan) -> Ruling | None:
        if not plan.group:
            return None
        members = attr(exc, "exceptions")
        if not isinstance(members, (tuple, list)):
            return None
        rulings = [
            self.judge(member) or Ruling(UNKNOWN, "unknown", member, certain=False)
            for member in members[:_MEMBERS]
            if isinstance(member, BaseException)
        ]
        return _worst(rulings) if rulings else None

    def _by_class(self, exc: BaseException, plan: Plan) -> Ruling | None:
        base = self._by_steps(plan.base, exc)
        if base is not None and (base.exc is not exc or base.rule.startswith("os.")):
            return base
        cause = self._by_cause(exc, plan) if base is None else None
        if cause is not None and cause.certain:
            return cause
        if plan.named is not None and not (cause is not None and plan.named.rule == SUBJECT):
            return Ruling(plan.named, f"name.{plan.named.rule}", exc, certain=False)
        if cause or base:
            return cause or (base and base._replace(certain=False))
        said = by_message(text_of(exc))
        return Ruling(said, f"message.{said.rule}", exc, certain=False) if said else None

    def _by_cause(self, exc: BaseException, plan: Plan) -> Ruling | None:
        cause = cause_of(exc)
        ruling = self.judge(cause) if cause is not None else None
        if ruling is not None:
            return ruling
        held = _held(exc, plan)
        if held is not None:
            return self.judge(held)
        rulings = [ruling for one in _held_many(exc, plan) if (ruling := self.judge(one)) is not None]
        return _worst(rulings) if rulings else None

    def _with_wait(self, ruling: Ruling) -> Ruling:
        verdict = ruling.verdict
        if not verdict.retryable or verdict.retry_after is not None or ruling.exc is self._waitless:
            return ruling
        wait = wait_of(ruling.exc)
        if wait is None:
            self._waitless = ruling.exc
            return ruling
        return ruling._replace(verdict=replace(verdict, retry_after=wait))


def _has_shape(exc: BaseException, plan: Plan) -> bool:
    return plan.shaped or has_attributes(exc)


def _held(exc: BaseException, plan: Plan) -> BaseException | None:
    """An exception that an opaque one carries: as an argument, or where wrappers commonly keep it."""
    for arg in args_of(exc)[:_HELD_ARGS]:
        if isinstance(arg, BaseException):
            return arg
    if _has_shape(exc, plan):
        for name in _HOLDERS:
            inner = attr(exc, name)
            if isinstance(inner, BaseException):
                return inner
        return _outcome(attr(exc, "last_attempt"))
    return None


def _outcome(attempt: Any) -> BaseException | None:
    """The exception of a finished attempt, kept as a future."""
    try:
        inner = attempt.exception() if attempt is not None and attempt.done() is True else None
    except BaseException:
        return None
    return inner if isinstance(inner, BaseException) else None


def _held_many(exc: BaseException, plan: Plan) -> list[BaseException]:
    """The exceptions that an opaque one carries together: one for each host tried, each item of a batch."""
    if not _has_shape(exc, plan):
        return []
    for name in _COLLECTIONS:
        held = attr(exc, name)
        members = list(held.values()) if type(held) is dict else held
        if type(members) in (list, tuple):
            pairs = [member[-1] if type(member) is tuple and member else member for member in members[:_MEMBERS]]
            found = [member for member in pairs if isinstance(member, BaseException)]
            if found:
                return found
    return []


def _as_wished(exc: BaseException, found: Ruling | None) -> Ruling | None:
    """`found`, corrected by what the exception says of itself; a wait means that trying again makes sense."""
    wish = wishes(exc)
    if wish.retryable is None and wish.retry_after is None:
        return found
    retryable = wish.retryable
    if retryable is None:
        retryable = True if found is None or not found.certain else found.verdict.retryable
    if found is None:
        error_type = ErrorType.SYSTEM if retryable else ErrorType.UNKNOWN
        return Ruling(Verdict(error_type, retryable, retry_after=wish.retry_after), "protocol.flags", exc)
    wait = wish.retry_after if wish.retry_after is not None else found.verdict.retry_after
    verdict = replace(found.verdict, retryable=retryable, retry_after=wait if retryable else None)
    return found._replace(verdict=verdict, certain=True)


def _worst(rulings: list[Ruling]) -> Ruling:
    def badness(ruling: Ruling) -> tuple[bool, int]:
        verdict = ruling.verdict
        return (not verdict.retryable, _RANK[verdict.severity or SEVERITY[verdict.error_type]])

    worst = max(rulings, key=badness)
    waits = [r.verdict.retry_after for r in rulings if r.verdict.retry_after is not None]
    if worst.verdict.retryable and waits:
        worst = worst._replace(verdict=replace(worst.verdict, retry_after=max(waits)))
    return worst
