"""How well groups fit labels, by pairs: of two exceptions, are they together where they should be, and only there?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ("Score", "score")


class Score(NamedTuple):
    """All between 0 and 1, but the counts."""

    #: Of the pairs in one group, the part with one label.
    precision: float
    #: Of the pairs with one label, the part in one group.
    recall: float
    f1: float
    #: Labels whose samples are all in one group, with no other label's.
    exact: float
    groups: int


def score(labels: Sequence[str], groups: Sequence[str]) -> Score:
    """Compare what should be together (`labels`) with what is (`groups`), both in the order of the samples."""
    both = Counter(zip(labels, groups, strict=True))
    by_label, by_group = Counter(labels), Counter(groups)
    hits, wanted, made = _pairs(both), _pairs(by_label), _pairs(by_group)
    precision = hits / made if made else 1.0
    recall = hits / wanted if wanted else 1.0
    exact = sum(1 for (label, group), n in both.items() if n == by_label[label] == by_group[group])
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return Score(precision, recall, f1, exact / len(by_label), len(by_group))


def _pairs(counts: Counter[str]) -> int:
    return sum(n * (n - 1) // 2 for n in counts.values())
