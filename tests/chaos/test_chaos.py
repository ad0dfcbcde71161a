"""The short form of `make chaos`: some points of the enumeration, a small soak, and proof that both can fail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.apps.chaos import Ledger
from tests.chaos.enumeration import Enumeration, Outcome, Point, Step
from tests.chaos.scenarios import SCENARIOS, End, Scenario
from tests.chaos.schedule import KINDS, Schedule
from tests.chaos.site import Site
from tests.chaos.soak import Soak, services_of
from tests.chaos.steps import Plan, Target
from tests.services import Unavailable

#: Scenarios of the short form: between them they retry, die, are held, replayed, and cross every store.
SHORT = ("retry", "dead_letter", "chain", "held_chord", "replay")
#: Points of the short form, on each broker.
POINTS = 10
SEED = int(os.environ.get("CHAOS_SEED", "20"))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ],
)
def broker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def enumeration(broker: str) -> Iterator[Enumeration]:
    try:
        made = Enumeration((broker,))
    except Unavailable as missing:
        if os.environ.get("CELERY_RECOVERY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"a required service is missing: {missing}")
        pytest.skip(str(missing))
    with made:
        yield made


def spread(points: Sequence[Point], most: int) -> list[Point]:
    """So many of them, at even distances: the same ones as long as the steps are the same."""
    return [points[int(number * len(points) / most)] for number in range(min(most, len(points)))]


def slow(site: Site) -> dict[str, str]:
    """A task that is not at its end when its message is acknowledged."""
    return {"t": site.app.tasks["chaos.work"].delay("t", 1).id}


def told(outcome: Outcome) -> str:
    return f"{outcome.point}: {outcome.verdict}: {outcome.violations}\n{outcome.story}"


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_books_balance_wherever_a_process_dies(enumeration: Enumeration, broker: str) -> None:
    """Killed before or after a step, alone or with its worker: every token ends where it belongs."""
    points = [point for scenario in SHORT for point in enumeration.points(broker, scenario)]
    outcomes = list(enumeration.outcomes(spread(points, POINTS)))
    assert len(outcomes) == POINTS
    wrong = [told(outcome) for outcome in outcomes if outcome.verdict != "balanced"]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.faults
def test_a_lost_task_is_found(enumeration: Enumeration, broker: str) -> None:
    """Acknowledged early, a task is lost with its worker, and the books must say so: they can fail."""
    careless = Scenario("careless", slow, {"t": End("SUCCESS")}, conf={"recovery_acks_late": False})
    unharmed = enumeration.run(broker, careless, None)
    assert unharmed.verdict == "balanced", told(unharmed)
    acknowledged = {"redis": "main:HDEL", "rabbitmq": "main:basic_ack"}[broker]
    step = next(step for step in unharmed.steps if step.startswith(acknowledged))
    harmed = enumeration.run(broker, careless, Target(step, "after", "group"))
    assert harmed.verdict == "violated", told(harmed)
    assert "LOST" in " ".join(harmed.violations)


@pytest.mark.faults
def test_a_step_that_never_comes_proves_nothing(enumeration: Enumeration, broker: str) -> None:
    """A point that was not reached does not count as survived."""
    outcome = enumeration.run(broker, SCENARIOS["success"], Target("child:FLUSHALL:1", "before", "group"))
    assert outcome.verdict == "not reached"


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_soak(broker: str) -> None:
    """Every sort of task while processes and services die: each token in exactly one place."""
    schedule = Schedule.of(SEED, tasks=60, seconds=8, services=services_of(broker), every=2)
    lines: list[str] = []
    report = Soak(broker, schedule, lines.append).run()
    story = "\n".join([str(report), *report.violations, *report.stories, *lines])
    assert not report.violations, story
    assert sum(report.books.values()) >= 60, story
    assert {"redis"} <= set(report.kills), story


def test_a_seed_gives_the_same_schedule() -> None:
    """What is sent when, and who dies when, is fixed before anything runs."""
    made = [Schedule.of(seed, tasks=200, seconds=30, services=("redis", "rabbitmq")) for seed in (7, 7, 8)]
    assert made[0] == made[1] != made[2]
    assert {kill.victim for kill in made[0].kills} >= {"redis", "rabbitmq"}
    assert all(0 <= sending.at <= 30 for sending in made[0].sendings)
    assert all(0 <= kill.at <= 30 for kill in made[0].kills)


def test_the_shares_of_the_mixture_are_percentages() -> None:
    """So that a reader knows how much there is of each."""
    assert sum(kind.share for kind in KINDS.values()) == 100


def test_points_and_plans_survive_their_text(tmp_path: Path) -> None:
    """A reproduction is copied out of a report; operations hold spaces, commas and brackets."""
    target = Target("child:[SETEX celery-task-meta-*, PUBLISH celery-task-meta-*]:2", "after", "group")
    point = Point("redis", "retry", target)
    assert Point.parse(str(point)) == point
    plan = Plan(str(tmp_path / "trace"), "armed", "main", target)
    assert Plan.from_json(plan.to_json()) == plan
    assert (Step(target.step).role, Step(target.step).number) == ("child", 2)


def test_the_ledger_counts_by_word(tmp_path: Path) -> None:
    """One line for each beginning and each end, in order."""
    book = Ledger(str(tmp_path))
    for word in ("start", "start", "end"):
        book.note("t", word, retries=1)
    assert [(line.word, line.retries) for line in book.lines("t")] == [("start", 1), ("start", 1), ("end", 1)]
    assert (book.count("t", "start"), book.count("t", "end"), book.count("other", "end")) == (2, 1, 0)
