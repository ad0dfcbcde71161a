"""Advice: never from too small a sample, never against the figures, and in settings that do what they say."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery import ErrorType
from celery_recovery.circuit.policy import CircuitPolicy
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity
from celery_recovery.policy import RecoveryPolicy
from celery_recovery.report.advice import MOST, MOST_OF_ONE, RULES, advise, circuits, letters, parked, retries, words
from celery_recovery.report.estimate import at_least, at_most
from celery_recovery.report.model import Advice, Headline, Report
from celery_recovery.report.sections import Circuit, Drift, Interval, Replays, Step
from tests.reports import MADE_AT, group, kind, replay, report, steps

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reporting.md").read_text("utf-8")
RULE = {rule.__name__: rule for rule in RULES}


def said(rule: str, made: Report) -> list[Advice]:
    """What one rule says."""
    return list(RULE[rule](made))


def circuit(intervals: list[tuple[float, float, str]] = [], **known: Any) -> Circuit:  # noqa: B006
    """`intervals`: seconds before the end of the period, from and to, and the state."""
    plain = {"name": "bank", "state": "closed", "since": 0.0, "waiting": 0, "parked": 0, "openings": 0,
             "from_closed": 0, "open_seconds": 0.0, "probing_seconds": 0.0}  # fmt: skip
    found = tuple(Interval(begin=MADE_AT - a, end=MADE_AT - b, state=state) for a, b, state in intervals)
    return Circuit(**{**plain, "intervals": found, **known})


OLDER = group("1:b", first_seen=1.0, versions={"1": 1, "2": 1}, versions_since={"1": 1.0, "2": 5.0})
FLAPPING = [(3000 - 100 * n, 2990 - 100 * n, "open") for n in range(5)]

#: Rule -> figures that are just enough, and the same with one less.
EDGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "parked_overdue": (
        {"standing": {"overdue": 1, "oldest_due": MADE_AT - 60}},
        {"standing": {"overdue": 1, "oldest_due": MADE_AT - 59}},
    ),
    "parked_refused": ({"standing": {"refused": 1}}, {"standing": {"refused": 0}}),
    "circuit_stays_open": (
        {"circuits": (circuit([(3600, 0, "open")], state="open"),)},
        {"circuits": (circuit([(3599, 0, "open")], state="open"),)},
    ),
    "poison": ({"kinds": (kind(reasons={"poison": 1}),)}, {"kinds": (kind(reasons={"exhausted": 9}),)}),
    "regression": ({"groups": (group(is_regression=True),)}, {"groups": (group(deaths=900),)}),
    "mend_version": (
        {"groups": (group(is_new=True, deaths=20, versions={"2": 20}, versions_since={"2": 9.0}), OLDER)},
        {"groups": (group(is_new=True, deaths=19, versions={"2": 19}, versions_since={"2": 9.0}), OLDER)},
    ),
    "replays_die": (
        {"replays": Replays(latest=(replay(died=18, recovered=2),))},
        {"replays": Replays(latest=(replay(died=17, recovered=2),))},
    ),
    "replay_resolved": (
        {"groups": (group(state="resolved", open=20),)},
        {"groups": (group(state="resolved", open=19),)},
    ),
    "give_circuit": (
        {"kinds": (kind(has_circuit=False, reasons={"exhausted": 50}),)},
        {"kinds": (kind(has_circuit=False, reasons={"exhausted": 49}),)},
    ),
    "raise_attempts": (
        {"kinds": (kind(steps=steps((50, 50), (20, 30)), reasons={"exhausted": 20}),)},
        {"kinds": (kind(steps=steps((50, 50), (20, 30)), reasons={"exhausted": 19}),)},
    ),
    "cap_attempts": (
        {"kinds": (kind(steps=steps((20, 60), (0, 60))),)},
        {"kinds": (kind(steps=steps((20, 60), (0, 59))),)},
    ),
    "retries_come_too_late": (
        {"kinds": (kind(reasons={"deadline": 20, "exhausted": 20}),)},
        {"kinds": (kind(reasons={"deadline": 19, "exhausted": 20}),)},
    ),
    "retry_what_replays_recover": (
        {"drifts": (Drift(task="a", error_type="validation", exception="x.E", rule="r", recovered=20, died=0),)},
        {"drifts": (Drift(task="a", error_type="validation", exception="x.E", rule="r", recovered=19, died=0),)},
    ),
    "write_rule": (
        {"kinds": (kind(error_type="unknown", failed_attempts=40), kind(failed_attempts=60))},
        {"kinds": (kind(error_type="unknown", failed_attempts=40), kind(failed_attempts=59))},
    ),
    "circuit_flaps": (
        {"circuits": (circuit(FLAPPING, from_closed=5),)},
        {"circuits": (circuit(FLAPPING[1:], from_closed=4),)},
    ),
    "circuit_forced": (
        {"circuits": (circuit(state="forced_open", since=MADE_AT - 86400),)},
        {"circuits": (circuit(state="forced_open", since=MADE_AT - 86399),)},
    ),
    "old_letters": (
        {"standing": {"open": 1, "oldest": MADE_AT - 604800}},
        {"standing": {"open": 1, "oldest": MADE_AT - 604799}},
    ),
    "use_recoverable_task": ({"headline": Headline(watched=50)}, {"headline": Headline(watched=49)}),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULE)
def test_a_rule_speaks_from_its_smallest_sample_on(rule):
    """With just enough it speaks, and only it; with one less it is silent."""
    enough, too_little = (report(**figures) for figures in EDGES[rule])
    spoken = said(rule, enough)
    assert [one.rule for one in spoken] == [rule]
    assert spoken[0].says.endswith((".", "?"))
    assert spoken[0].evidence
    assert spoken[0].figures or rule == "regression"
    assert not said(rule, too_little)


def test_who_said_it():
    """A name stands where any name can: `me` is one, too."""
    made = report(groups=(group(state="resolved", open=20, by="me"),))
    assert said("replay_resolved", made)[0].evidence == "20 of its letters are open. Said to be mended by: me."


def test_a_quiet_day():
    """Nothing to say of nothing."""
    assert advise(report()) == ()


def test_all_rules_are_documented():
    """In the order in which they speak, with the very figures of the code."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \|", PAGE.partition("<!-- advice: ")[2].partition("\n## ")[0], re.MULTILINE
    )
    known = {name: condition for name, condition in rows if name in RULE}
    assert list(known) == list(RULE)
    for name, condition in known.items():
        told = Counter(float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", condition))
        assert told == Counter(map(float, THRESHOLDS[name])), name


THRESHOLDS: dict[str, tuple[float, ...]] = {
    "parked_overdue": (parked.OVERDUE_SECONDS,),
    "parked_refused": (parked.REFUSED,),
    "circuit_stays_open": (circuits.OPEN_SECONDS,),
    "poison": (letters.POISON,),
    "regression": (),
    "mend_version": (letters.VERSION_DEATHS,),
    "replays_die": (letters.REPLAYS_ENDED, letters.REPLAYS_SHARE),
    "replay_resolved": (letters.RESOLVED_OPEN,),
    "give_circuit": (retries.CIRCUIT_EXHAUSTED,),
    "raise_attempts": (retries.RAISE_TASKS, retries.RAISE_SHARE, retries.RAISE_EXHAUSTED),
    "cap_attempts": (retries.CAP_TASKS, retries.CAP_SHARE_NONE, retries.CAP_SHARE_SOME, retries.CAP_WORTH),
    "retries_come_too_late": (letters.LATE_LETTERS, letters.LATE_SHARE),
    "retry_what_replays_recover": (words.REPLAYED, words.DRIFT_SHARE),
    "write_rule": (words.FAILURES, words.UNKNOWN_SHARE),
    "circuit_flaps": (circuits.FLAPS, circuits.FLAP_SECONDS),
    "circuit_forced": (circuits.FORCED_SECONDS,),
    "old_letters": (letters.OLD,),
    "use_recoverable_task": (words.WATCHED,),
}


def test_the_example_of_the_rule():
    """Attempts that recovered nothing are told with all that stands behind it."""
    made = report(kinds=(kind(steps=steps((90, 388), (10, 378), (0, 378), (0, 378), (0, 378), (0, 378))),))
    (advice,) = said("cap_attempts", made)
    assert advice.says == "Cap network failures of shop.charge at 3 attempts."
    assert advice.evidence.startswith(
        "Attempts 4 to 7 recovered 0 of the 378 tasks that came so far, in 1,512 attempts and 25m 12s of worker time."
    )
    assert advice.setting == 'policies={"network": {"max_attempts": 3}}'


#: Tasks that come to attempt 2, and of each attempt the share that recovers and the share that ends otherwise.
courses = st.tuples(
    st.integers(0, 3000),
    st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.3, 0.6]), st.sampled_from([0.0, 0.3])), max_size=8),
)


def course(begun: int, shares: list[tuple[float, float]]) -> tuple[Step, ...]:
    """What that comes to, attempt by attempt."""
    counts = []
    for recovering, leaving in shares:
        recovered = round(begun * recovering)
        counts.append((recovered, begun - recovered))
        begun = round((begun - recovered) * (1 - leaving))
    return steps(*counts)


reasons = st.fixed_dictionaries({"exhausted": st.integers(0, 100), "not_retryable": st.integers(0, 2)})


@st.composite
def reports(draw: Any) -> Report:
    """Kinds, each with groups of which some are not known."""
    kinds, groups = [], []
    for n in range(draw(st.integers(1, 3))):
        error_type = draw(st.sampled_from(["network", "unknown", "validation"]))
        parts = draw(st.lists(courses, min_size=1, max_size=4))
        made = [course(*part) for part in parts]
        task = f"task{n}"
        limit = draw(st.sampled_from([None, 3, 8]))
        for at, found in enumerate(made):
            if draw(st.booleans()):
                groups.append(group(f"1:{n}{at}", task=task, error_type=error_type, steps=found, max_attempts=limit,
                                    exception=f"shop.E{draw(st.integers(0, 1))}", reasons=draw(reasons)))  # fmt: skip
        kinds.append(kind(task, error_type, steps=retries.added(*made), reasons=draw(reasons), max_attempts=limit))
    return report(kinds=tuple(kinds), groups=tuple(groups))


def recovered_late(found: tuple[Step, ...], cap: int) -> int:
    return sum(step.recovered for step in found if step.attempt > cap)


@given(reports())
def test_no_advice_to_give_up_what_works(made):
    """A cap takes away next to nothing that was seen to recover, whichever failures the setting reaches."""
    for advice in said("cap_attempts", made):
        cap, tasks = int(advice.figures["cap"]), int(advice.figures["tasks"])
        (key,) = ast.literal_eval(advice.setting.removeprefix("policies="))
        task = advice.place.rpartition(" ")[2]
        (of,) = (one for one in made.kinds if one.task == task)
        if key == of.error_type:
            lost = recovered_late(of.steps, cap)
        else:  # of its own groups, and of those that nobody knows any more
            others = [one for one in made.groups if one.task == task and one.exception != key]
            lost = recovered_late(of.steps, cap) - sum(recovered_late(one.steps, cap) for one in others)
        assert lost == advice.figures["recovered"]
        assert tasks >= retries.CAP_TASKS
        assert at_most(lost, tasks) <= (retries.CAP_SHARE_SOME if lost else retries.CAP_SHARE_NONE)
        assert of.max_attempts is None or of.max_attempts > cap


@given(reports())
def test_more_attempts_only_where_the_last_one_helps(made):
    """And never beside the advice to make fewer of them."""
    capped = {one.place for one in said("cap_attempts", made) if '"network"' in one.setting or "unknown" in one.setting}
    for advice in said("raise_attempts", made):
        figures = advice.figures
        assert figures["tasks"] >= retries.RAISE_TASKS
        assert at_least(int(figures["recovered"]), int(figures["tasks"])) >= retries.RAISE_SHARE
        assert figures["exhausted"] >= retries.RAISE_EXHAUSTED
        assert figures["limit"] > figures["attempts"]
        assert advice.place not in capped


@given(reports())
def test_advice_is_bounded_and_pure(made):
    """The same figures, the same advice, and not too much of it."""
    found = advise(made)
    assert found == advise(made)
    assert len(found) <= MOST
    assert max(Counter(one.rule for one in found).values(), default=0) <= MOST_OF_ONE


@given(reports())
def test_settings_do_what_they_say(made):
    """Each is Python, is accepted as it stands, and gives the attempts that it promises."""
    for advice in (*said("cap_attempts", made), *said("raise_attempts", made)):
        policies = ast.literal_eval(advice.setting.removeprefix("policies="))
        limit = advice.figures.get("cap") or advice.figures["limit"]
        (key,) = policies
        of = key if key in {one.value for one in ErrorType} else "unknown"
        info = ErrorInfo(
            error_type=ErrorType(of), is_retryable=True, severity=ErrorSeverity.LOW, rule="", exception=key
        )
        assert RecoveryPolicy(policies).course(None, info).retry.max_attempts == limit


@pytest.mark.parametrize(
    ("reason", "known", "setting"),
    [
        ("deadline", {"deadline": 90.0, "delays": (2.0, 300.0)}, '{"network": {"deadline": 180}}'),
        ("expires", {"deadline": 90.0, "delays": (2.0, 300.0)}, '{"network": {"max_delay": 150}}'),
        ("expires", {"delays": (200.0, 300.0)}, '{"network": {"max_delay": 200}}'),
        ("expires", {}, '{"network": {"max_delay": 60}}'),
    ],
)
def test_sooner_than_now(reason, known, setting):
    """Twice the deadline that there is, or half of the longest delay, and never less than a policy accepts."""
    (advice,) = said("retries_come_too_late", report(kinds=(kind(reasons={reason: 20}, **known),)))
    assert advice.setting == f"policies={setting}"
    RecoveryPolicy(ast.literal_eval(advice.setting.removeprefix("policies=")))


@pytest.mark.parametrize(("state", "what"), [("forced_open", "refuses all calls"), ("disabled", "protects nothing")])
def test_what_somebody_made_of_a_circuit(state, what):
    """Both are asked about, with what they mean; the states that a circuit takes by itself are not."""
    (advice,) = said("circuit_forced", report(circuits=(circuit(state=state, since=MADE_AT - 90_000, waiting=7),)))
    assert advice.says == f"Is the circuit bank still meant to be {state}? It {what}."
    assert "for 1d 1h; 7 tasks wait" in advice.evidence
    assert not said("circuit_forced", report(circuits=(circuit(state="open", since=MADE_AT - 90_000),)))


def test_never_both_fewer_attempts_and_more():
    """The last attempt recovers three in ten, but so few come to it that all retries together recover next to none."""
    few = kind(steps=steps((0, 10_000), (35, 65)), reasons={"exhausted": 70})
    made = report(kinds=(few,))
    assert [advice.figures["cap"] for advice in said("cap_attempts", made)] == [1]
    assert not said("raise_attempts", made)
    assert said("raise_attempts", report(kinds=(kind(steps=steps((50, 50), (35, 65)), reasons={"exhausted": 70}),)))


def test_no_more_attempts_for_what_is_not_retried_as_a_rule():
    """More than one attempt for such a type means "retry them all"."""
    given = {"steps": steps((50, 50), (35, 65)), "reasons": {"exhausted": 70}}
    assert said("raise_attempts", report(kinds=(kind(error_type="unknown", **given),)))
    assert not said("raise_attempts", report(kinds=(kind(error_type="validation", **given),)))


def test_a_cap_that_would_have_all_of_a_type_retried():
    """Of a type that is not retried as a rule, more than one attempt means "retry them all": no such advice."""
    given = {"error_type": "validation", "steps": steps((20, 100), (0, 100))}
    assert not said("cap_attempts", report(kinds=(kind(**given, reasons={"not_retryable": 1}),)))
    (advice,) = said("cap_attempts", report(kinds=(kind(**given),)))
    assert advice.figures["cap"] == 2
    never = kind(error_type="validation", steps=steps((0, 100)), reasons={"not_retryable": 1})
    assert said("cap_attempts", report(kinds=(never,)))


def test_one_exception_of_a_kind():
    """Where others of the kind recover late, the exception that does not is capped alone."""
    hopeless, helped = steps((0, 100), (0, 100), (0, 100)), steps((50, 50), (25, 25), (12, 13))
    made = report(
        kinds=(kind(steps=retries.added(hopeless, helped)),),
        groups=(group(steps=hopeless), group("1:b", exception="shop.errors.Busy", steps=helped)),
    )
    (advice,) = said("cap_attempts", made)
    assert advice.setting == 'policies={"shop.errors.Down": {"max_attempts": 1}}'
    unknown = report(kinds=made.kinds, groups=made.groups[:1])  # they may have been of the same exception
    assert not said("cap_attempts", unknown)


def test_calmer_circuits_are_accepted():
    """Whatever bounds the circuit has."""
    for settings in ({}, {"minimum_calls": 5.0, "open_duration": 60.0, "longest_open": 60.0}, {"open_duration": 0.25}):
        made = report(circuits=(circuit(FLAPPING, from_closed=5, settings=settings),))
        (advice,) = said("circuit_flaps", made)
        (fields,) = ast.literal_eval(advice.setting.removeprefix("recovery_circuits = ")).values()
        policy = CircuitPolicy(**fields)
        assert policy.open_duration == 2 * settings.get("open_duration", CircuitPolicy().open_duration)
        assert policy.minimum_calls == 2 * settings.get("minimum_calls", CircuitPolicy().minimum_calls)


def test_what_somebody_has_mended_need_not_be_retried():
    """A group that was resolved recovers because of that."""
    drift = Drift(task="a", error_type="validation", exception="x.E", rule="r", recovered=90, died=0)
    resolved = group(task="a", exception="x.E", state="resolved")
    assert said("retry_what_replays_recover", report(drifts=(drift,)))
    assert not said("retry_what_replays_recover", report(drifts=(drift,), groups=(resolved,)))


def test_a_first_version_brings_nothing():
    """Where nobody has seen another version before, a new group says nothing about it."""
    new = group(is_new=True, deaths=500, versions={"2": 500}, versions_since={"2": 9.0})
    assert not said("mend_version", report(groups=(new,)))
    younger = group("1:b", first_seen=1.0, versions={"2": 4, "3": 1}, versions_since={"2": 8.0, "3": 10.0})
    assert not said("mend_version", report(groups=(new, younger)))
