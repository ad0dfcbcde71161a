"""What a letter carries of an item, how items are replayed together, and a value that JSON would change."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_recovery.batch.batch import Batch, Source
from celery_recovery.batch.course import Course, Unit, Verdict
from celery_recovery.batch.item import LARGEST, BatchHeader, Item, letter_id
from celery_recovery.batch.policy import BatchPolicy
from celery_recovery.batch.progress import Progress
from celery_recovery.dead_letters.regroup import LARGEST as LARGEST_MESSAGE
from celery_recovery.dead_letters.regroup import bundles, together
from celery_recovery.exceptions import SourceChanged
from tests.letters import letter as made_letter


class Point(NamedTuple):
    """Has names, which JSON would forget."""

    x: int
    y: int


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_json_comes_back(value: Any) -> None:
    item = Item.from_dict(json.loads(json.dumps(Item.of(3, "k", value).to_dict())))
    assert item is not None
    assert (item.position, item.key) == (3, "k")
    assert item.value is not None
    assert item.load() == value


@pytest.mark.parametrize("value", [
    dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc), decimal.Decimal("1.10"), uuid.UUID(int=7),
    (1, "two", None), {"at": dt.date(2026, 11, 24)},
])  # fmt: skip
def test_what_kombu_writes_comes_back(value: Any) -> None:
    found = Item.of(0, None, value).load()
    assert found == value
    assert type(found) is type(value)


class Broken:
    """As objects may be."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("value", [
    object(), Broken(), {1: "one"}, [(1, 2)], {1, 2}, Point(1, 2), "x" * LARGEST, float("nan"),
])  # fmt: skip
def test_what_json_would_change_is_not_carried(value: Any) -> None:
    item = Item.of(0, None, value)
    assert item.value is None
    assert item.shown
    assert item.plain() is None


NAMES = st.sampled_from(["batch", "items", "position", "key", "value", "letter", "parent", "name"])
HEADERS = st.recursive(JSON | st.binary(), lambda inner: st.dictionaries(NAMES, inner | st.lists(inner)), max_leaves=6)


@given(HEADERS)
def test_a_header_may_hold_anything(header: Any) -> None:
    """It is read, or it is none."""
    found = BatchHeader.of(header)
    assert found is None or BatchHeader.of({"batch": found.to_dict()}) == found


class Keeps:
    """The task's side of a replay."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []
        self.state: dict[str, Any] | None = None

    def load(self) -> Any:
        return self.state

    def save(self, state: dict[str, Any]) -> None:
        self.state = state

    def judge(self, exc: BaseException, unit: Unit, policy: BatchPolicy) -> Verdict:
        return Verdict("task" if isinstance(exc, SourceChanged) else "data", exc=exc, failure=exc)

    def set_aside(self, unit: Unit, item: Item, progress: Progress) -> None:
        self.told.append((item.position, "again"))

    def ended(self, item: Item, how: str) -> None:
        self.told.append((item.position, how))

    def may_run(self, item: Item) -> bool:
        return item.position != 9

    def would_retry(self, exc: BaseException, *, moved_on: bool) -> bool:
        return False

    def tell(self, progress: Progress) -> None:
        """Nobody."""

    def stopping(self) -> bool:
        return False

    def is_part(self) -> bool:
        return False

    def pause(self) -> BaseException:
        return TimeoutError()


def replayed(items: list[Item], source: Source) -> tuple[list[Any], Keeps]:
    """What the body gets, in a batch that replays these items; the word "bad" fails."""
    keeps, got = Keeps(), []

    def do(value: Any) -> None:
        got.append(value)
        if value == "bad":
            raise ValueError("bad")

    Batch(Course("1", BatchPolicy(), keeps, items), source).each(do)
    return got, keeps


def test_the_source_is_not_read() -> None:
    """Only the items that the message brings; a copy that another run has is left to it."""
    brought = {3: "a", 7: "bad", 9: "x", 11: "b"}
    items = [replace(Item.of(n, None, value), letter={"id": str(n)}) for n, value in brought.items()]
    got, keeps = replayed(items, Source(items=iter(lambda: pytest.fail("read"), None)))
    assert got == ["a", "bad", "b"]
    assert sorted(keeps.told) == [(3, "recovered"), (7, "again"), (11, "recovered")]
    assert keeps.state is not None
    assert (keeps.state["succeeded"], keeps.state["failed"]) == (2, 1)


@pytest.mark.parametrize("key", [None, lambda point: f"p{point.x}"])
def test_what_no_letter_carries_is_looked_up(key: Any) -> None:
    """By its key, wherever it is now; without keys by its position."""
    points = [Point(n, 0) for n in range(20)]
    items = [Item.of(n, key and key(points[n]), points[n]) for n in (3, 7)]
    source = points if key is None else list(reversed(points))
    got, _ = replayed(items, Source(items=source, key=key))
    assert got == [Point(3, 0), Point(7, 0)]


def test_what_is_no_longer_there() -> None:
    items = [Item.of(n, None, Point(n, 0)) for n in (1, 7)]
    with pytest.raises(SourceChanged, match="1 items, first number 7, are no longer in the source"):
        replayed(items, Source(items=[Point(0, 0), Point(1, 0)]))


def test_ids() -> None:
    """The same item has the same id; another one of anything has another."""
    base = ("parent", "1", 0, 5)
    assert letter_id(*base) == letter_id(*base)
    others = [("other", "1", 0, 5), ("parent", "2", 0, 5), ("parent", "1", 1, 5), ("parent", "1", 0, 6)]
    assert len({letter_id(*one) for one in (base, *others)}) == 5


def test_bundles() -> None:
    """Items of one batch go together, as many as fit; whatever else there is goes alone."""

    def of(n: int, parent: str, size: int = 10) -> Any:
        header = BatchHeader(parent=parent, name="1", items=(Item.of(n, None, "x" * size),))
        return replace(made_letter(f"{parent}-{n}"), batch=header.to_dict(), token=f"t{n}", number=1, operation="op")

    some = [of(1, "a"), of(1, "b"), made_letter("alone"), of(2, "a"), of(2, "b")]
    assert sorted([one.id for one in bundle] for bundle in bundles(some)) == [["a-1", "a-2"], ["alone"], ["b-1", "b-2"]]
    large = [of(n, "a", 20_000) for n in range(10)]
    made = list(bundles(large))
    assert [len(bundle) for bundle in made] == [3, 3, 3, 1]
    message = together(made[0])
    header = BatchHeader.of(message.headers["recovery"])
    assert header is not None
    assert [item.letter["token"] for item in header.items] == ["t0", "t1", "t2"]
    assert len(json.dumps(message.headers["recovery"])) < LARGEST_MESSAGE + 5000
    assert message.headers["id"] == message.properties["correlation_id"] not in {letter.id for letter in large}
    assert message.headers["id"] != "a-0"
