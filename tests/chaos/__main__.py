"""`python -m tests.chaos enumerate|soak|all`: see docs/chaos.md."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.enumeration import Enumeration, Outcome, Point, reproduction
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.schedule import Schedule
from tests.chaos.soak import Soak, services_of

BROKERS = ("redis", "rabbitmq")
#: Stories of tokens that are printed in full; the rest differ in their ids only.
STORIES = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when the books did not balance somewhere, or a point was not reached."""
    options = _parser().parse_args(arguments)
    ended: int = options.run(options)
    return ended


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    commands = parser.add_subparsers(required=True)
    points = commands.add_parser("enumerate", help="die at every step of every scenario")
    points.set_defaults(run=_enumerate)
    points.add_argument("--scenario", action="append", choices=tuple(SCENARIOS))
    points.add_argument("--point", action="append", help="exactly this one, as --list prints it; may be repeated")
    points.add_argument("--list", action="store_true", help="only print the points")
    points.add_argument("--json", type=Path, metavar="FILE", help="write every outcome there")
    points.add_argument("--most", type=int, help="no more points than that")
    points.add_argument("--parallel", type=int, default=4, help="runs at a time; most of a run is waiting")
    soak = commands.add_parser("soak", help="mixed tasks under random deaths")
    soak.set_defaults(run=_soak)
    soak.add_argument("--tasks", type=int, default=1000)
    soak.add_argument("--seconds", type=float, default=90, help="from the first task to the last death")
    soak.add_argument("--every", type=float, default=3, help="mean seconds between two deaths")
    both = commands.add_parser("all", help="the enumeration, then soaks with one seed after the other")
    both.set_defaults(
        run=_all,
        scenario=None,
        point=None,
        list=False,
        json=None,
        most=None,
        parallel=4,
        tasks=1000,
        seconds=90,
        every=3,
    )
    for command in (points, soak, both):
        command.add_argument("--broker", action="append", choices=BROKERS)
        command.add_argument("--seed", type=int, help="of the soak, or of the order of the points")
        command.add_argument("--minutes", type=float, help="begin nothing new after that")
    return parser


# -- enumeration


def _enumerate(options: argparse.Namespace) -> int:
    until = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    wanted = [Point.parse(text) for text in options.point or ()]
    brokers = tuple(dict.fromkeys(point.broker for point in wanted)) or options.broker or BROKERS
    with Enumeration(brokers, parallel=options.parallel) as enumeration:
        points = wanted or _points(enumeration, options, brokers)
        if options.list:
            _say("\n".join(map(str, points)))
            return 0
        return _report(enumeration, points, until, options)


def _points(enumeration: Enumeration, options: argparse.Namespace, brokers: Sequence[str]) -> list[Point]:
    points = []
    for broker in brokers:
        for scenario in options.scenario or SCENARIOS:
            try:
                found = enumeration.points(broker, scenario)
            except RuntimeError as exc:
                _say(f"NOT COUNTED {exc}")
                continue
            print(f"{broker} {scenario}: {len(found)} points", file=sys.stderr, flush=True)  # noqa: T201
            points += found
    if options.seed is not None:
        random.Random(options.seed).shuffle(points)
    return points[: options.most]


def _report(enumeration: Enumeration, points: Sequence[Point], until: float, options: argparse.Namespace) -> int:
    begun, outcomes = time.monotonic(), []
    for outcome in enumeration.outcomes(points, until):
        outcomes.append(outcome)
        _show(outcome, len(outcomes), len(points))
        if options.point:
            _say(outcome.story)
    _say(_table(outcomes))
    _say(f"{len(outcomes)} of {len(points)} points in {time.monotonic() - begun:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([outcome.to_dict() for outcome in outcomes], indent=1))
    return int(any(outcome.verdict != "balanced" for outcome in outcomes))


def _show(outcome: Outcome, number: int, total: int) -> None:
    _say(f"{number}/{total} {outcome.verdict} in {outcome.seconds:.1f} s: {outcome.point}")
    if outcome.violations:
        _say("   " + "\n   ".join(outcome.violations))
        _say(f"   again: {reproduction(outcome)}")


def _table(outcomes: Sequence[Outcome]) -> str:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault((outcome.broker, outcome.scenario), Counter())[outcome.verdict] += 1
    rows = [f"{'broker':10}{'scenario':20}{'balanced':>10}{'violated':>10}{'not reached':>13}"]
    for (broker, scenario), found in sorted(counts.items()):
        rows.append(f"{broker:10}{scenario:20}{found['balanced']:10}{found['violated']:10}{found['not reached']:13}")
    return "\n".join(rows)


# -- soak


def _soak(options: argparse.Namespace) -> int:
    """One round, or as many as fit into the minutes, each with the next seed."""
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    until = time.monotonic() + (options.minutes or 0) * 60
    failed = _round(options, seed)
    while time.monotonic() < until:
        seed += 1
        failed += _round(options, seed)
    return int(failed > 0)


def _round(options: argparse.Namespace, seed: int) -> int:
    failed = 0
    for broker in options.broker or BROKERS:
        how = f"--broker {broker} --seed {seed} --tasks {options.tasks} --seconds {options.seconds:g}"
        _say(f"soak {how} --every {options.every:g}")
        schedule = Schedule.of(
            seed, tasks=options.tasks, seconds=options.seconds, services=services_of(broker), every=options.every
        )
        report = Soak(broker, schedule, lambda line: _say(f"  {line}")).run()
        _say(
            "\n".join([*(f"  {violation}" for violation in report.violations), *report.stories[:STORIES], str(report)])
        )
        if report.violations:
            _say(f"again: python -m tests.chaos soak {how} --every {options.every:g}")
        failed += bool(report.violations)
    return failed


def _all(options: argparse.Namespace) -> int:
    """Half of the time for each, or the whole enumeration and one soak."""
    minutes = options.minutes
    options.minutes = minutes and minutes / 2
    seed, options.seed = options.seed, options.seed if minutes else None
    points = _enumerate(options)
    options.seed = seed
    return max(points, _soak(options))


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
