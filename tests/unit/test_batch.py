"""The engine of batches, against a memory that can be killed at any step: nothing lost, nothing kept twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_recovery.batch.batch import Batch, Source
from celery_recovery.batch.course import Course, Unit, Verdict
from celery_recovery.batch.item import Item
from celery_recovery.batch.policy import BatchPolicy
from celery_recovery.batch.progress import Progress
from celery_recovery.exceptions import BatchStopped, ConfigurationError, SourceChanged


class Killed(BaseException):
    """The process is no more."""


class Memory:
    """What outlives a process: the saved state, the letters, and the sink, where what is not committed is lost."""

    def __init__(self) -> None:
        self.state: str | None = None
        self.letters: dict[tuple[int, int], Item] = {}
        self.kept: Counter[int] = Counter()
        self.calls: list[int] = []
        self.steps = 0
        self.killed_at: set[int] = set()

    def step(self) -> None:
        """A moment at which the process may be killed."""
        self.steps += 1
        if self.steps in self.killed_at:
            raise Killed


class Keeps:
    """The task's side of one run."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.stops = False

    def load(self) -> Any:
        return None if self.memory.state is None else json.loads(self.memory.state)

    def save(self, state: dict[str, Any]) -> None:
        self.memory.step()
        self.memory.state = json.dumps(state)
        self.memory.step()

    def judge(self, exc: BaseException, unit: Unit, policy: BatchPolicy) -> Verdict:
        if isinstance(exc, (KeyError, SourceChanged)):
            return Verdict("task")
        how = "outage" if isinstance(exc, ConnectionError) else "data"
        if how == "outage" and unit.tries + 1 < policy.attempts:
            how = "retry"
        return Verdict(how, 0.0, str(exc), exc, exc)

    def would_retry(self, exc: BaseException, *, moved_on: bool) -> bool:
        return False

    def set_aside(self, unit: Unit, item: Item, progress: Progress) -> None:
        self.memory.step()
        self.memory.letters[progress.era, item.position] = item
        self.memory.step()

    def ended(self, item: Item, how: str) -> None:
        raise NotImplementedError

    def may_run(self, item: Item) -> bool:
        raise NotImplementedError

    def tell(self, progress: Progress) -> None:
        """Nobody."""

    def is_part(self) -> bool:
        return False

    def stopping(self) -> bool:
        return self.stops

    def pause(self) -> BaseException:
        return TimeoutError("the worker shuts down")


def task(memory: Memory, source: Callable[[], Source], body: Callable[[Batch], Any], **policy: Any) -> Course:
    """One attempt: the body runs, and again as long as the batch says so. Raises what the task leaves with."""
    course = Course("1", BatchPolicy(**policy), Keeps(memory))
    while True:
        batch = Batch(course, source())
        try:
            body(batch)
        except Exception as exc:  # noqa: BLE001  # as the base class does
            outcome = course.failed(exc, unwound=True)
            if outcome is None:
                continue
            raise outcome from None
        return course


@dataclass
class World:
    """What a batch meets: its items, those that fail, and when its process is killed."""

    count: int
    bad: set[int]
    #: Item -> how often it fails of what would pass.
    away: dict[int, int]
    #: Items at which the whole attempt fails, once.
    quits: set[int]
    kills: set[int]
    size: int | None
    flush: int
    commits: bool
    in_place: bool
    keyed: bool
    listed: bool

    def __post_init__(self) -> None:
        self.memory = Memory()
        self.memory.killed_at = self.kills
        self.tried: Counter[int] = Counter()
        self.open_rows: list[int] = []

    def source(self) -> Source:
        items = list(range(self.count)) if self.listed else iter(range(self.count))
        key, commit = str if self.keyed else None, self.commit if self.commits else None
        return Source(items=items, key=key, size=self.size, commit=commit)

    def commit(self) -> None:
        self.memory.step()
        self.memory.kept.update(self.open_rows)
        self.open_rows.clear()

    def do(self, part: int | list[int]) -> None:
        rows = part if isinstance(part, list) else [part]
        self.memory.step()
        for row in rows:
            if row in self.bad:
                raise ValueError(f"bad {row}")
            self.tried[row] += 1
            if row in self.quits and self.tried[row] == 1:
                raise KeyError(row)
            if self.tried[row] <= self.away.get(row, 0):
                raise ConnectionError(f"away {row}")
        if self.commits:
            self.open_rows.extend(rows)
        else:
            self.memory.kept.update(rows)

    def body(self, batch: Batch) -> None:
        if self.in_place:
            batch.each(self.do)
            return
        try:
            for part in batch:
                self.do(part)
        finally:  # a transaction that was not committed is rolled back when the body is left
            self.open_rows.clear()

    def run(self) -> Course:
        """Attempts, until one comes to its end."""
        policy = {"max_failures": None, "max_share": None, "max_alike": None, "outage_after": 100}
        for _ in range(300):
            try:
                return task(self.memory, self.source, self.body, flush_every=self.flush, **policy)
            except (Killed, KeyError, ConnectionError):  # a bulk call that stays away is the task's failure
                continue
        raise AssertionError("it does not end")


WORLDS = st.builds(
    World,
    count=st.integers(0, 60),
    bad=st.sets(st.integers(0, 59), max_size=8),
    away=st.dictionaries(st.integers(0, 59), st.integers(1, 4), max_size=5),
    quits=st.sets(st.integers(0, 59), max_size=3),
    kills=st.sets(st.integers(1, 160), max_size=12),
    size=st.sampled_from([None, 1, 4, 16]),
    flush=st.sampled_from([1, 3, 10, 100]),
    commits=st.booleans(),
    in_place=st.booleans(),
    keyed=st.booleans(),
    listed=st.booleans(),
)


@settings(max_examples=1000, deadline=None)
@given(WORLDS)
def test_whatever_happens(world: World) -> None:
    """Killed anywhere, failing anywhere: every item is kept or a letter, and a kill repeats at most one interval."""
    progress, memory = world.run().progress, world.memory
    items, aside = set(range(world.count)), {position for _, position in memory.letters}
    assert world.bad & items <= aside <= (world.bad | world.away.keys()) & items, "who fails is a letter"
    assert set(memory.kept) | aside == items, "nothing is missing"
    assert not set(memory.kept) & world.bad
    size = world.size or 1
    repeated = sum(times - 1 for times in memory.kept.values())
    assert repeated <= len(world.kills) * (max(world.flush, size) + size)
    assert progress.done == progress.succeeded + progress.failed == world.count
    if not world.kills:
        assert repeated == 0
        assert progress.failed == len(aside)


def run(memory: Memory, items: Any, body: Callable[[Any], Any], **options: Any) -> Course:
    """One attempt over these items."""
    source = {name: options.pop(name) for name in ("key", "size", "commit", "total") if name in options}

    def loop(batch: Batch) -> None:
        for item in batch:
            body(item)

    return task(memory, lambda: Source(items=items() if callable(items) else items, **source), loop, **options)


def stopped_at(memory: Memory, position: int, items: Any, **options: Any) -> None:
    """A first attempt that ends before the item at `position`."""

    def body(item: Any) -> None:
        if memory.state is None or len(memory.calls) < position:
            memory.calls.append(item)
        if len(memory.calls) == position:
            memory.calls.append(item)
            raise KeyError("enough")

    with pytest.raises(KeyError):
        run(memory, items, body, flush_every=1, **options)
    memory.calls.clear()


def test_it_goes_on_where_it_stood() -> None:
    memory = Memory()
    stopped_at(memory, 5, lambda: range(10))
    run(memory, lambda: range(10), memory.calls.append)
    assert memory.calls == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("items", [list(range(10, 20)), [0, 1, 3, 2, *range(4, 10)], list(range(1, 11)), [0, 1]])
def test_another_source_is_noticed_by_its_keys(items: list[int]) -> None:
    memory = Memory()
    stopped_at(memory, 5, lambda: range(10), key=str)
    state = memory.state
    with pytest.raises(SourceChanged, match=r"the keys of its first 4 items|has fewer than the 4 items"):
        run(memory, lambda: iter(items), memory.calls.append, key=str)
    assert memory.calls == []
    assert memory.state == state


def test_more_behind_the_end_is_no_change_of_a_source_with_keys() -> None:
    memory = Memory()
    stopped_at(memory, 5, lambda: list(range(10)), key=str)
    run(memory, lambda: list(range(12)), memory.calls.append, key=str)
    assert memory.calls == [4, 5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(("items", "why"), [
    (list(range(11)), "it has 11 items, and had 10"),
    (list(range(9)), "it has 9 items, and had 10"),
])  # fmt: skip
def test_another_length_is_noticed_without_keys(items: list[int], why: str) -> None:
    memory = Memory()
    stopped_at(memory, 5, lambda: list(range(10)))
    with pytest.raises(SourceChanged, match=why):
        run(memory, lambda: items, memory.calls.append)


def test_a_shorter_stream_is_noticed() -> None:
    memory = Memory()
    stopped_at(memory, 5, lambda: iter(range(10)))
    with pytest.raises(SourceChanged, match="it has fewer than the 4 items that it had"):
        run(memory, lambda: iter(range(3)), memory.calls.append)


@pytest.mark.parametrize("stream", [list, iter])
def test_a_source_without_what_is_done_is_gone_through_anew(stream: Callable[[Any], Any]) -> None:
    """`on_change="restart"`, as for `WHERE NOT done`: all that it has now, from its first item on."""
    memory = Memory()
    stopped_at(memory, 5, lambda: stream(range(10)), key=str)
    course = run(memory, lambda: stream(range(4, 10)), memory.calls.append, key=str, on_change="restart")
    assert memory.calls == [4, 5, 6, 7, 8, 9]
    assert course.progress.era == 1


def test_letters_of_another_era_are_other_letters() -> None:
    """Position 0 means another item then."""
    memory = Memory()

    def fail(item: int) -> None:
        if item in (0, 4):
            raise ValueError(item)
        if item == 3 and memory.state is not None and json.loads(memory.state)["era"] == 0:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        run(memory, lambda: range(10), fail, key=str)
    run(memory, lambda: range(4, 10), fail, key=str, on_change="restart")
    assert sorted(memory.letters) == [(0, 0), (1, 0)]


def test_a_callable_source_begins_where_it_is_told() -> None:
    memory, asked = Memory(), []

    def rows(position: int) -> Iterator[int]:
        asked.append(position)
        return iter(range(position, 10))

    def source() -> Any:
        return rows

    stopped_at(memory, 5, source)
    run(memory, source, memory.calls.append)
    assert (asked, memory.calls) == ([0, 4], [4, 5, 6, 7, 8, 9])


def test_an_outage_at_the_end_of_the_source_is_the_tasks_failure_while_it_has_attempts() -> None:
    memory = Memory()

    def fail(item: int) -> None:
        if item >= 8:
            raise ConnectionError(item)

    keeps = Keeps.would_retry
    try:
        Keeps.would_retry = lambda *_, **__: True  # type: ignore[method-assign]
        with pytest.raises(ConnectionError):
            run(memory, lambda: range(10), fail)
    finally:
        Keeps.would_retry = keeps  # type: ignore[method-assign]
    assert json.loads(memory.state or "")["done"] == 8
    run(memory, lambda: range(10), fail)
    assert [position for _, position in sorted(memory.letters)] == [8, 9]


def test_limits() -> None:
    """Judged at a failure, over the window."""

    def fail(item: int) -> None:
        if item >= 500:
            raise ValueError("alike")
        if item % 10 == 0:
            raise ValueError(f"own {item}")

    memory = Memory()
    with pytest.raises(BatchStopped, match=r"150 of the last 500 items failed alike \(max_alike 0.3\)"):
        run(memory, lambda: range(2000), fail, window=500)
    assert json.loads(memory.state or "")["done"] == 650
    memory = Memory()
    with pytest.raises(BatchStopped, match=r"of the last 500 items failed \(max_share 0.2\)"):
        run(memory, lambda: range(2000), fail, window=500, max_alike=None, max_share=0.2)
    memory = Memory()
    with pytest.raises(BatchStopped, match=r"8 items failed \(max_failures 7\)"):
        run(memory, lambda: range(2000), fail, max_failures=7)


def test_what_is_saved_does_not_grow() -> None:
    memory = Memory()
    run(memory, lambda: range(100_000), lambda _: None, key=str)
    assert len(memory.state or "") < 500


@pytest.mark.parametrize(("options", "message"), [
    ({"flush_every": 0}, r"batch.flush_every: expected a whole number >= 1, got 0"),
    ({"max_share": 2}, r"batch.max_share: expected a number above 0 and up to 1, got 2"),
    ({"on_change": "stopp"}, r"batch.on_change: expected one of stop, restart, got 'stopp'. Did you mean 'stop'\?"),
    ({"flush_evry": 1}, r"batch.flush_evry: expected one of flush_every.*Did you mean 'flush_every'\?"),
])  # fmt: skip
def test_a_policy_that_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        BatchPolicy.of(options)


@pytest.mark.parametrize(("options", "message"), [
    ({"items": 5}, "batch.items: expected an iterable"),
    ({"items": [], "key": "id"}, "batch.key: expected a callable or None, got 'id'"),
    ({"items": [], "size": 0}, "batch.size: expected a whole number >= 1, got 0"),
])  # fmt: skip
def test_a_source_that_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Source(**options)
