"""`Batch`: what `self.batch(…)` gives; the loop goes through it, and it goes on where the last run stood.

    for row in self.batch(rows, key=itemgetter("id")):
        write(row)

**A failure leaves the loop**, as any exception does, and no iterator can keep it from that. So the task's base class
hands it to the batch, and *runs the body again*: the loop begins anew, and the batch skips what needs nothing more.
What comes before the loop runs once for each failed item; `batch.each(write)` calls the function itself, and fails in
place. Both go through the same steps:

    out           the item is with the body
    finished      the body came back for the next one
    failed        the exception was the item's: try again in place │ bisect │ set aside │ give the whole task up

**What is done lies in front of one position** (`progress.py`): items are worked on in their order, those to be tried
again first. Failures that would pass with time wait at the end of it: when the next item succeeds, each is tried once
more, and set aside if it fails again; when ten in a row fail so, it is an outage, and the failure is the task's.

**With `commit=`** what the body did since the last flush is undone by a failure that leaves the loop (a transaction is
rolled back), so these items run again: they are kept in memory until they are committed.

A `Course` is one batch in one attempt: it outlives the body's runs, each of which makes a new `Batch` for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any

from celery_recovery.batch.course import NO_KEY, Course, Unit
from celery_recovery.batch.item import Item
from celery_recovery.batch.progress import Digest, Progress
from celery_recovery.exceptions import ConfigurationError, SourceChanged

__all__ = ("Batch", "Source")

#: Items that are skipped at once on the way to where the last run stood.
SKIP = 4096
_NOTHING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one run of the body gave to the batch."""

    items: Iterable[Any] | Callable[[int], Iterable[Any]]
    key: Callable[[Any], Any] | None = None
    #: Items at once; None: one, and not in a list.
    size: int | None = None
    commit: Callable[[], object] | None = None
    total: int | None = None

    def __post_init__(self) -> None:
        given: object = self.items
        if not callable(given) and not isinstance(given, Iterable):
            expected = "an iterable, or a callable from the position to begin at to one"
            raise ConfigurationError.of("batch.items", expected=expected, got=self.items)
        for name in ("key", "commit"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ConfigurationError.of(f"batch.{name}", expected="a callable or None", got=getattr(self, name))
        if self.size is not None and (not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1):
            raise ConfigurationError.of("batch.size", expected="a whole number >= 1", got=self.size)
        if self.total is not None and (not isinstance(self.total, int) or self.total < 0):
            raise ConfigurationError.of("batch.total", expected="a whole number >= 0, or None", got=self.total)

    @property
    def length(self) -> int | None:
        """How many there are, where it says so."""
        return len(self.items) if isinstance(self.items, Sized) else None

    def name_of(self, item: Any) -> Any:
        """Its key; a function that raises over it leaves the failure to the body."""
        try:
            return self.key(item) if self.key is not None else None
        except Exception:  # noqa: BLE001  # the user's function, over bad data
            return NO_KEY


class Batch:
    """Iterate over it, or call `each`. See the module's docstring."""

    def __init__(self, course: Course | None, source: Source) -> None:
        #: None: another batch of this task is being replayed, and this one has nothing to do.
        self._course = course
        self._source = source

    def __iter__(self) -> Iterator[Any]:
        course = self._course
        if course is None:
            return
        course.begin(self._source.commit)
        single = self._source.size is None
        fresh = self._units(course)
        again, stopping = course.again, course.keeps.stopping
        while True:
            unit = again.popleft() if again else next(fresh, None)
            if unit is None:
                break
            if unit.fate and not course.meet(unit):
                continue
            if stopping():
                course.check_stop()
            course.out, course.left = unit, False
            try:
                yield unit.items[0] if single else unit.items
            except GeneratorExit:  # by an exception, or by `break`
                course.left = True
                raise
            if course.out is unit:
                course.finished(unit)
        course.end()

    def each(self, function: Callable[[Any], object]) -> dict[str, Any]:
        """Call it with each item (or chunk); a failure stays in place, and the loop goes on. Returns `result`."""
        for item in self:
            try:
                function(item)
            except Exception as exc:
                course = self._course
                outcome = exc if course is None else course.failed(exc, unwound=False)
                if outcome is exc:
                    raise
                if outcome is not None:
                    raise outcome from exc
        return self.result

    @property
    def result(self) -> dict[str, Any]:
        """What became of it so far: `{batch, status, total, succeeded, failed, discarded, seconds}`."""
        progress = self._course.progress if self._course is not None else Progress()
        through = self._course is None or self._course.through
        status = "incomplete" if not through else "succeeded_with_failures" if progress.failed else "succeeded"
        return {
            "batch": progress.batch, "status": status, "total": progress.done, "succeeded": progress.succeeded,
            "failed": progress.failed, "discarded": progress.discarded, "seconds": round(progress.seconds, 3),
        }  # fmt: skip

    # -- its source

    def _units(self, course: Course) -> Iterator[Unit]:
        """From the source, from where it stood."""
        source = self._source
        if course.own:
            yield from self._own_units(course)
            return
        rest = self._rest(course)
        progress = course.progress
        progress.length = source.length
        progress.total = source.total if source.total is not None else source.length
        size, key = source.size or 1, source.key
        while items := list(islice(rest, size)):
            start = course.taken
            course.taken += len(items)
            yield Unit(start, items, None if key is None else [source.name_of(item) for item in items])

    def _rest(self, course: Course) -> Iterator[Any]:
        """The source behind what was taken of it. Raises `SourceChanged`, or `BeginAnew`, where it is another."""
        source, taken, known = self._source, course.taken, course.progress.length
        if callable(source.items):
            return iter(source.items(taken))
        length = source.length
        if source.key is None and known is not None and length is not None and length != known:
            course.changed(f"it has {length:,} items, and had {known:,}")
        rest = iter(source.items)
        if source.key is not None:
            taken -= self._verify(course, rest)
        if taken and next(islice(rest, taken - 1, taken), _NOTHING) is _NOTHING:
            course.changed(f"it has fewer than the {course.taken:,} items that it had")
        return rest

    def _verify(self, course: Course, rest: Iterator[Any]) -> int:
        """Compare the keys of all that is noted as done; returns how many items that took."""
        digest, left = Digest(), course.saved
        while left:
            part = list(islice(rest, min(SKIP, left)))
            if not part:
                course.changed(f"it has fewer than the {course.saved:,} items that are done")
            digest.add([self._source.name_of(item) for item in part])
            left -= len(part)
        course.verified(digest)
        return course.saved

    def _own_units(self, course: Course) -> Iterator[Unit]:
        """The items of letters that are replayed; those that no letter could carry are looked up."""
        size = self._source.size or 1
        wanted = [item for item in course.own if item.value is None]
        found = self._look_up(wanted) if wanted else {}
        for index in range(course.taken, len(course.own), size):
            part = course.own[index : index + size]
            runs = [item for item in part if course.keeps.may_run(item)]
            values = [item.load() if item.value is not None else found[item.position] for item in runs]
            if runs:
                unit = Unit(index + len(part) - len(runs), values, None, runs)
                course.taken = unit.end
                yield unit

    def _look_up(self, wanted: Sequence[Item]) -> dict[int, Any]:
        """By key where there is one, else by position. Raises `SourceChanged`."""
        source = self._source
        items = source.items(0) if callable(source.items) else source.items
        places, keys = {item.position for item in wanted}, {item.key: item.position for item in wanted if item.key}
        found: dict[int, Any] = {}
        for position, value in enumerate(items):
            if source.key is not None and keys:
                position = keys.get(Item.of(position, source.name_of(value), None).key or "", -1)  # noqa: PLW2901
            if position in places:
                found[position] = value
                if len(found) == len(places):
                    break
        missing = places - found.keys()
        if missing:
            raise SourceChanged(f"{len(missing)} items, first number {min(missing)}, are no longer in the source")
        return found
