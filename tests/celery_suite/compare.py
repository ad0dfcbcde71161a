"""Run Celery's own integration tests with and without our task class, and compare.

    python tests/celery_suite/compare.py [--only canvas|tasks|others] [-k EXPRESSION] [--broker redis|rabbitmq]

The tests are those of the Celery that is installed here, taken from its source distribution into a cache folder
(`--cache`, default `~/.cache/celery-recovery-suite`) and run from there unchanged, against a private Redis (and
RabbitMQ). Once as they are, once with `celery_recovery.RecoverableTask` as the `task_cls` of the app, through Celery's
own fixture.

A *difference* is a test that passes without us and, in three runs, never with us. What fails once is run up to two more
times in both ways, because some of these tests fail now and then, or hang, all by themselves. In the further runs
Celery's own `flaky` marks count, in the first they do not.

Exit code: 0 no difference; 1 at least one; 2 wrong use. `plain.json` and `recoverable.json` (every test, every run) and
`differences.json` are left in `--out`.

Two settings are given to the app in the second run, because the suite asserts what plain Celery does in the places
where our defaults differ on purpose; `--defaults` leaves them out:

    recovery_policies = {"unknown": 1}
        An error that no rule knows fails at the first attempt. By default it has a few, and each costs a second or two.
    recovery_on_dead_letter = "fail"
        A failing chord member fails its chord. By default it is held open.
"""
# ruff: noqa: T201 - a script: it prints

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from suite import GROUPS, Mode, Outcome, Run, Suite, Wanted, prepare, run_all

__all__ = ("main",)

PLAIN = Mode(name="plain")
SETTINGS = {
    "recovery_policies": {"unknown": 1},
    "recovery_on_dead_letter": "fail",
}
#: The test's assertions held. (`xpassed`: although a mark said that they might not; the mark is about other backends.)
PASSED = frozenset({"passed", "xpassed"})
#: pytest is content. Anything else is a failure of some kind.
GOOD = PASSED | {"skipped", "xfailed"}
#: Further runs of a test that passed in one mode and failed in the other.
FURTHER_RUNS = 2
#: More suspects than this are no matter of chance: they are reported without running them again.
TOO_MANY = 60

#: test -> its outcomes, one per run
Outcomes = dict[str, list[Outcome]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, write the files, print the table; return the exit code."""
    options = _parser().parse_args(arguments)
    suite = prepare(options.cache.expanduser().resolve())
    wanted = Wanted(broker=options.broker, expression=options.k, cap=options.cap, jobs=options.jobs)
    settings = {} if options.defaults else SETTINGS
    ours = Mode(name="recoverable", task_class=options.task_class, settings=settings)
    started = time.monotonic()
    groups = options.only or list(GROUPS)
    plain, recoverable = _run_both(suite, ours, groups, wanted, options.plain)
    _run_again(suite, ours, plain, recoverable, wanted)
    differences = _differences(plain, recoverable)
    _write(options.out.expanduser(), plain, recoverable, differences)
    _print_table(plain, recoverable, differences)
    print(f"{time.monotonic() - started:.0f} s; outcomes in {options.out.expanduser()}")
    return 1 if differences or not recoverable else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path("~/.cache/celery-recovery-suite")
    parser.add_argument("--only", action="append", choices=GROUPS, help="a part of the suite; may be repeated")
    parser.add_argument("-k", default="", metavar="EXPRESSION", help="pytest's -k")
    parser.add_argument("--broker", default="redis", choices=("redis", "rabbitmq"), help="results are in Redis always")
    parser.add_argument("--cap", type=float, default=180.0, metavar="SECONDS", help="a hanging test ends here (180)")
    parser.add_argument("--jobs", type=int, default=2, help="pytest processes at a time (2)")
    parser.add_argument("--defaults", action="store_true", help="our class with its default settings")
    parser.add_argument("--plain", type=Path, metavar="FILE", help="a plain.json of before, instead of that run")
    parser.add_argument("--task-class", default="celery_recovery:RecoverableTask", metavar="MODULE:NAME")
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR")
    parser.add_argument("--out", type=Path, default=cache / "results", metavar="DIR")
    return parser


def _run_both(
    suite: Suite, ours: Mode, groups: Iterable[str], wanted: Wanted, known: Path | None
) -> tuple[Outcomes, Outcomes]:
    modes = (ours,) if known else (PLAIN, ours)
    runs = [
        Run(mode=mode, targets=[f"t/integration/{module}" for module in GROUPS[group]], label=f"{group}, {mode.name}")
        for group in groups
        for mode in modes
    ]
    plain, recoverable = _collect(suite, runs, ours, wanted)
    return (_read(known, recoverable) if known else plain), recoverable


def _run_again(suite: Suite, ours: Mode, plain: Outcomes, recoverable: Outcomes, wanted: Wanted) -> None:
    """Give every suspect its further runs, in both modes, and add their outcomes."""
    for number in range(FURTHER_RUNS):
        suspects = [test for test in plain if _suspect(plain[test], recoverable.get(test, []))]
        if not suspects or len(suspects) > TOO_MANY:
            return
        print(f"{len(suspects)} to look at again ({number + 1} of {FURTHER_RUNS})", flush=True)
        runs = [Run(mode=mode, targets=suspects, label=f"again, {mode.name}", again=True) for mode in (PLAIN, ours)]
        again_plain, again_ours = _collect(suite, runs, ours, wanted)
        for test in suspects:
            plain[test] += again_plain.get(test, [])
            recoverable.setdefault(test, []).extend(again_ours.get(test, []))


def _collect(suite: Suite, runs: Iterable[Run], ours: Mode, wanted: Wanted) -> tuple[Outcomes, Outcomes]:
    plain: Outcomes = defaultdict(list)
    recoverable: Outcomes = defaultdict(list)
    for run, outcomes in run_all(suite, runs, wanted):
        good = sum(one.outcome in GOOD for one in outcomes)
        print(f"  ended: {run.label}: {good} of {len(outcomes)} good", flush=True)
        for one in outcomes:
            (recoverable if run.mode is ours else plain)[one.test].append(one)
    return dict(plain), dict(recoverable)


def _suspect(plain: Sequence[Outcome], ours: Sequence[Outcome]) -> bool:
    """Passed at least once without us and never with us; the same for "pytest is content"."""
    return any(
        any(one.outcome in right for one in plain) and not any(one.outcome in right for one in ours)
        for right in (PASSED, GOOD)
    )


def _differences(plain: Outcomes, recoverable: Outcomes) -> list[str]:
    return sorted(test for test in plain if _suspect(plain[test], recoverable.get(test, [])))


def _read(path: Path, seen: Outcomes) -> Outcomes:
    """An earlier `plain.json`, cut to the tests that were run now."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    modules = {test.partition("::")[0] for test in seen}
    return {
        test: [Outcome(**one) for one in outcomes]
        for test, outcomes in stored.items()
        if test.partition("::")[0] in modules
    }


def _write(out: Path, plain: Outcomes, recoverable: Outcomes, differences: Iterable[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, outcomes in (("plain", plain), ("recoverable", recoverable)):
        _dump(out / f"{name}.json", {test: [asdict(one) for one in runs] for test, runs in sorted(outcomes.items())})
    _dump(out / "differences.json", {test: _words(recoverable.get(test, [])) for test in differences})


def _dump(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _print_table(plain: Outcomes, recoverable: Outcomes, differences: Sequence[str]) -> None:
    print(f"\n{'':13}{'tests':>7}{'good':>7}{'not good':>10}{'seconds':>9}   (best outcome of each test's runs)")
    for name, outcomes in (("plain", plain), ("recoverable", recoverable)):
        good = sum(any(one.outcome in GOOD for one in runs) for runs in outcomes.values())
        seconds = sum(runs[0].seconds for runs in outcomes.values() if runs)
        print(f"{name:13}{len(outcomes):7}{good:7}{len(outcomes) - good:10}{seconds:9.0f}")
    unlike = [test for test in plain if _words(plain[test]) != _words(recoverable.get(test, []))]
    if unlike:
        print(f"\n{'plain':28} {'recoverable':28} not the same in every run")
    for test in sorted(unlike, key=lambda test: (test not in differences, test)):
        mark = "  <-- DIFFERENCE" if test in differences else ""
        print(f"{_words(plain[test]):28} {_words(recoverable.get(test, [])):28} {test}{mark}")
    print(f"\n{len(differences)} difference(s)")
    for test in differences:
        print(f"\n--- {test}\n{recoverable[test][0].why if recoverable.get(test) else 'was not run'}")


def _words(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(one.outcome for one in outcomes) or "not run"


if __name__ == "__main__":
    sys.exit(main())
