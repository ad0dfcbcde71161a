"""Fingerprints group what belongs together, better than the rules of other systems do.

The corpus, and what counts as one bug, are described in `tests/grouping`; `benchmarks/grouping.py` prints the figures.
"""

from __future__ import annotations

import pytest

from celery_recovery.errors import classify
from tests.grouping.corpus import collected
from tests.grouping.model import Part, Sample
from tests.grouping.rivals import RIVALS
from tests.grouping.scoring import score

# What was measured, and a little less: libraries word their messages anew now and then.
PRECISION, RECALL = 0.985, 0.98
PART_F1 = {Part.SEEN: 0.99, Part.HELD_OUT: 0.96, Part.LAST: 0.99}


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """All exceptions of the corpus."""
    return collected()


def labels_of(samples: list[Sample]) -> list[str]:
    return [sample.label for sample in samples]


def ours(samples: list[Sample]) -> list[str]:
    return [classify(sample.exc, task=sample.task).fingerprint for sample in samples]


def test_the_corpus_is_large(samples):
    """More than 1,200 exceptions of more than 200 bugs, six of each."""
    labels = labels_of(samples)
    assert len(labels) > 1200
    assert len(set(labels)) > 200
    assert {labels.count(label) for label in labels} == {6}


def test_bugs_are_groups(samples):
    """Hardly any group has two bugs, and hardly any bug two groups."""
    whole = score(labels_of(samples), ours(samples))
    assert whole.precision >= PRECISION
    assert whole.recall >= RECALL


@pytest.mark.parametrize("part", list(Part))
def test_unseen_bugs_are_groups_too(samples, part):
    """Rules that were made to fit would fail on what they were not made on."""
    its = [sample for sample in samples if sample.part is part]
    assert score(labels_of(its), ours(its)).f1 >= PART_F1[part]


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_are_worse(samples, name):
    """By a third at least."""
    rival = score(labels_of(samples), [RIVALS[name](sample) for sample in samples])
    assert rival.f1 < score(labels_of(samples), ours(samples)).f1 * 2 / 3


@pytest.mark.parametrize(
    ("labels", "groups", "precision", "recall"),
    [
        ("aabb", "xxyy", 1, 1),
        ("aabb", "xxxx", 2 / 6, 1),
        ("aabb", "wxyz", 1, 0),
        ("aaab", "xxyy", 1 / 2, 1 / 3),
    ],
)
def test_pairs_are_counted(labels, groups, precision, recall):
    """Precision is about pairs in a group, recall about pairs of a bug."""
    found = score(labels, groups)
    assert (found.precision, found.recall) == (pytest.approx(precision), pytest.approx(recall))
