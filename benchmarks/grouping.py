"""How well fingerprints group failures, beside the rules of other systems; exit status 1 if any of them groups better.

    python benchmarks/grouping.py [--misses] [--bare]

`--misses` also lists the bugs that ours splits or mixes; `--bare` leaves out what came through decorators, wrappers and
other ways of calling, so that only data, places and lines differ.

The exceptions are real and were really raised: by small applications (`tests/grouping/apps`), installed as releases
that differ, and run bare and through wrappers. Each has the bug that it comes from as its label. Of all pairs in one
group, precision is the part that is of one bug; of all pairs of one bug, recall is the part that is in one group; F1 is
their harmonic mean. All rules get the same: the exception and its task. One task's name is used for each application,
so that it tells bugs apart for nobody.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from celery_recovery.errors import classify
from tests.grouping.corpus import collected
from tests.grouping.model import Part, Sample
from tests.grouping.rivals import RIVALS
from tests.grouping.scoring import score

_OURS = "ours"
_BARE = frozenset({"base", "shifted", "reordered", "installed", "moved"})


def _ours(sample: Sample) -> str:
    return classify(sample.exc, task=sample.task).fingerprint


def _misses(samples: Sequence[Sample], groups: Sequence[str]) -> None:
    """Bugs whose exceptions are not together, and groups with more than one bug."""
    by_bug: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    by_group: dict[str, set[str]] = defaultdict(set)
    for sample, group in zip(samples, groups, strict=True):
        by_bug[sample.label][group].append(sample.setting)
        by_group[group].add(sample.label)
    for label, parts in by_bug.items():
        if len(parts) > 1:
            print(f"split: {label}: {' | '.join(', '.join(settings) for settings in parts.values())}")
    for labels in by_group.values():
        if len(labels) > 1:
            print(f"mixed: {', '.join(sorted(labels))}")


def main() -> int:
    """Print the table; 1 if a rival's F1 is not below ours."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--misses", action="store_true", help="list the bugs that ours splits or mixes")
    parser.add_argument("--bare", action="store_true", help="only exceptions that came through no wrapper")
    options = parser.parse_args()
    samples = [sample for sample in collected() if not options.bare or sample.setting in _BARE]
    rules: dict[str, Callable[[Sample], str]] = {_OURS: _ours, **RIVALS}
    print(f"{len(samples)} exceptions of {len({sample.label for sample in samples})} bugs")
    print(f"{'rule':46} {'groups':>6} {'precision':>9} {'recall':>6}   {'F1':>5}  " + "  ".join(Part))
    found: dict[str, float] = {}
    for name, rule in rules.items():
        groups = [rule(sample) for sample in samples]
        whole = score([sample.label for sample in samples], groups)
        found[name] = whole.f1
        parts = []
        for part in Part:
            its = [(sample.label, group) for sample, group in zip(samples, groups, strict=True) if sample.part is part]
            parts.append(f"{score(*zip(*its, strict=True)).f1:{len(part)}.3f}")
        figures = f"{whole.groups:6} {whole.precision:9.3f} {whole.recall:6.3f}   {whole.f1:5.3f}"
        print(f"{name:46} {figures}  {'  '.join(parts)}")
        if options.misses and name == _OURS:
            _misses(samples, groups)
    return 0 if max(found, key=found.__getitem__) == _OURS else 1


if __name__ == "__main__":
    sys.exit(main())
