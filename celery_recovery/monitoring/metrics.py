"""Every metric that is exported, as data: its name, type, labels, help, and where its samples come from.

Prometheus' rules hold: counters end in `_total`, times are seconds, sizes bytes. All figures are the whole fleet's, so
one exporter is enough. Labels are words of closed sets, names of tasks that are registered here and of circuits that
are declared; whatever else there is, is counted as `(other)`. So their number is known, and nothing that comes from a
message gets in. What can be zero is zero from the beginning, as `rate()` needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, product
from typing import Any, NamedTuple

from celery_recovery.monitoring import words
from celery_recovery.monitoring.counting import Labels
from celery_recovery.monitoring.fleet import Fleet
from celery_recovery.monitoring.measures import DELAYS, RECOVERIES, ends_of
from celery_recovery.monitoring.stats import AT_ONCE, WATCHED
from celery_recovery.monitoring.words import OTHER

__all__ = ("METRICS", "READ", "UP", "Distribution", "Metric")

#: Labels -> value.
Samples = Mapping[Labels, float]


class Distribution(NamedTuple):
    """One histogram: (upper end of a bucket, how many are not above it), and their sum."""

    buckets: Sequence[tuple[str, float]]
    sum: float


class Metric(NamedTuple):
    """One family of series."""

    #: Without the prefix `celery_recovery_`.
    name: str
    #: `"gauge"`, `"counter"` or `"histogram"`.
    kind: str
    help: str
    labels: tuple[str, ...]
    #: None: it is about the reading itself.
    samples: Callable[[Fleet], Mapping[Labels, Any]] | None = None
    #: It comes from the counters that `recovery_stats = False` turns off.
    counted: bool = False


UP = Metric("up", "gauge", "Whether the figures could be read: 1, or 0, and then nothing else is told.", ())
READ = Metric("read_seconds", "gauge", "How long the last reading of all figures took.", ())


def _table(counts: Iterable[tuple[Labels, float]], *known: Sequence[str]) -> Samples:
    """Each combination of what is known, from 0; what is not known is added up as `OTHER`."""
    table: dict[Labels, float] = dict.fromkeys(product(*known), 0)
    sets = [frozenset(values) for values in known]
    for labels, count in counts:
        place = tuple(value if value in values else OTHER for value, values in zip(labels, sets, strict=True))
        table[place] = table.get(place, 0) + count
    return table


def _one(value: float) -> Samples:
    return {(): value}


def _by(counts: Mapping[str, float], *known: Sequence[str]) -> Samples:
    return _table((((name,), count) for name, count in counts.items()), *known)


def _rest(counts: Mapping[str, int], total: int) -> Samples:
    """With what is not known here, as the difference."""
    return {**_by(counts, tuple(counts)), (OTHER,): max(total - sum(counts.values()), 0)}


#: What is counted -> how many labels are behind it.
_WIDTHS = {
    "attempts": 3, "delay": 2, "delay_ms": 1, "recovery": 2, "recovery_ms": 1, "circuit": 2, "group": 1, "batch": 2,
    "error": 1, "dead": 2,
}  # fmt: skip


def _of(fleet: Fleet, what: str) -> Iterable[tuple[Labels, int]]:
    """The labels behind `what`, and the counts; a newer version may have counted in another form: that is left out."""
    counted, width = fleet.totals or {}, _WIDTHS[what] + 1
    return ((labels[1:], n) for labels, n in counted.items() if labels[:1] == (what,) and len(labels) == width)


def _tasks(fleet: Fleet) -> Sequence[str]:
    return (*fleet.tasks, OTHER)


def _attempts(fleet: Fleet) -> Samples:
    ended = (((task, end), n) for (task, _, end), n in _of(fleet, "attempts") if not end.startswith(WATCHED))
    return _table(ended, _tasks(fleet), (*AT_ONCE, *words.OUTCOMES))


def _errors(fleet: Fleet) -> Samples:
    ended = _of(fleet, "attempts")
    met = (((kind, end), n) for (_, kind, end), n in ended if end not in AT_ONCE and not end.startswith(WATCHED))
    return _table(met, words.ERROR_TYPES, words.OUTCOMES)


def _watched(fleet: Fleet) -> Samples:
    ended = _of(fleet, "attempts")
    return _table(
        (((end.removeprefix(WATCHED),), n) for (_, _, end), n in ended if end.startswith(WATCHED)), words.WATCHED_ENDS
    )


def _distributions(fleet: Fleet, what: str, ends: Sequence[float]) -> Mapping[Labels, Distribution]:
    """By error type, of the buckets that stand for themselves and the sum in milliseconds."""
    counts = Counter(_table(_of(fleet, what), words.ERROR_TYPES, ends_of(ends)))
    sums = _table(_of(fleet, f"{what}_ms"), words.ERROR_TYPES)
    found: dict[Labels, Distribution] = {}
    for (kind,), milliseconds in sums.items():
        upto = accumulate(counts[kind, end] for end in ends_of(ends))
        found[kind,] = Distribution(list(zip(ends_of(ends), upto, strict=True)), milliseconds / 1000)
    return found


def _ages(fleet: Fleet) -> Samples:
    return {(state,): max(fleet.at - fleet.oldest.get(state, fleet.at), 0.0) for state in words.OPEN_STATES}


def _circuits(fleet: Fleet) -> Samples:
    counts = Counter(state.value for state in fleet.circuits.values())
    return _by(counts, words.CIRCUIT_STATES)


def _circuit_states(fleet: Fleet) -> Samples:
    now = {name: fleet.circuits[name].value if name in fleet.circuits else "closed" for name in fleet.declared}
    return {(name, state): float(now[name] == state) for name, state in product(fleet.declared, words.CIRCUIT_STATES)}


def _transitions(fleet: Fleet) -> Samples:
    return _table(_of(fleet, "circuit"), (*fleet.declared, OTHER), words.CIRCUIT_STATES)


def _overdue_for(fleet: Fleet) -> Samples:
    due = fleet.parked.oldest_due
    return _one(0.0 if due is None else max(fleet.at - due, 0.0))


def _batches(fleet: Fleet, part: str) -> Samples:
    return _by({task: getattr(one, part) for task, one in fleet.batches.items()}, _tasks(fleet))


METRICS: Sequence[Metric] = (
    UP,
    READ,
    Metric("errors_total", "counter", "Calls of workers and tools that failed: to Redis, to publish, to send an alert.",
           ("of",), lambda it: _table(_of(it, "error"), words.TROUBLE), counted=True),
    Metric("owed_results", "gauge", "Results that the result backend does not have yet.",
           (), lambda it: _one(it.owed)),
    # -- failures and recoveries
    Metric("attempts_total", "counter", "Attempts of recoverable tasks that ended, by what became of them.",
           ("task", "outcome"), _attempts, counted=True),
    Metric("outcomes_total", "counter",
           "What became of attempts that met an error. Of one that recovered it is the error before.",
           ("error_type", "outcome"), _errors, counted=True),
    Metric("watched_total", "counter", "Failures of tasks on Celery's own base, as its signals tell of them.",
           ("end",), _watched, counted=True),
    Metric("retry_delay_seconds", "histogram", "Delays before retries.",
           ("error_type",), lambda it: _distributions(it, "delay", DELAYS), counted=True),
    Metric("time_to_recovery_seconds", "histogram", "From the first failure of a task to its success.",
           ("error_type",), lambda it: _distributions(it, "recovery", RECOVERIES), counted=True),
    # -- dead letters
    Metric("dead_letters_total", "counter",
           "Tasks that ran and became dead letters, by the reason. exhausted: no attempt was left.",
           ("error_type", "reason"), lambda it: _table(_of(it, "dead"), words.ERROR_TYPES, words.DEATHS), counted=True),
    Metric("letters", "gauge", "Letters in the store. Those that are recovered or discarded are finished.",
           ("state",), lambda it: _by(it.letters, words.LETTER_STATES)),
    Metric("open_letters_by_task", "gauge", "Letters that are not finished, by task.",
           ("task",), lambda it: _rest(it.by_task, it.open)),
    Metric("open_letters_by_error_type", "gauge", "Letters that are not finished, by the type of their error.",
           ("error_type",), lambda it: _by(it.by_error_type, words.ERROR_TYPES)),
    Metric("open_letters_by_reason", "gauge", "Letters that are not finished, by why they are letters.",
           ("reason",), lambda it: _rest(it.by_reason, it.open)),
    Metric("oldest_letter_age_seconds", "gauge", "Since the death of the oldest letter in this state; 0: it has none.",
           ("state",), _ages),
    Metric("letter_bytes", "gauge", "Bytes of the bodies of all letters kept.",
           (), lambda it: _one(it.flow.get("bytes", 0))),
    Metric("letter_events_total", "counter",
           "What happened to letters since the store was last empty. again: a replay died again.",
           ("event",), lambda it: _by({event: it.flow.get(event, 0) for event in words.EVENTS}, words.EVENTS)),
    Metric("open_groups", "gauge", "Groups with letters that are not finished, by what people have said of them.",
           ("state",), lambda it: _by(it.groups, words.GROUP_STATES)),
    Metric("group_news_total", "counter", "Groups of letters that were new, grew, or came back.",
           ("news",), lambda it: _table(_of(it, "group"), words.GROUP_NEWS), counted=True),
    # -- circuits and parking
    Metric("circuits", "gauge", "Circuits that were used in the last week, by state.",
           ("state",), _circuits),
    Metric("circuit_state", "gauge", "1 for the state of a circuit that a task or a setting names, 0 for all others.",
           ("circuit", "state"), _circuit_states),
    Metric("circuit_transitions_total", "counter", "Transitions of circuits into a state.",
           ("circuit", "state"), _transitions, counted=True),
    Metric("circuit_waiting", "gauge", "Parked tasks that wait for a circuit.",
           ("circuit",), lambda it: _by(it.parked.by_circuit, (*it.declared, OTHER))),
    Metric("parked", "gauge", "Parked tasks, by why they are parked.",
           ("reason",), lambda it: _by(it.parked.by_reason, words.PARKED)),
    Metric("parked_overdue", "gauge", "Parked tasks that are due, and that nobody gives back.",
           (), lambda it: _one(it.parked.overdue)),
    Metric("parked_overdue_seconds", "gauge", "How long the first parked task has been due; 0: none is.",
           (), _overdue_for),
    Metric("parked_refused", "gauge", "Parked tasks that no queue takes.",
           (), lambda it: _one(it.parked.refused)),
    # -- replays and batches
    Metric("operations", "gauge", "Replays, discards and the like that have not ended.",
           ("kind", "state"), lambda it: _table(it.operations.items(), words.OPERATION_KINDS, words.OPERATION_STATES)),
    Metric("operation_letters_left", "gauge", "Letters that operations which have not ended are not through with.",
           ("kind",), lambda it: _by(it.operation_letters, words.OPERATION_KINDS)),
    Metric("batches", "gauge", "Batches that were begun and have not come to their end.",
           ("task",), lambda it: _batches(it, "count")),
    Metric("batch_items_done", "gauge", "Items that need nothing more, of such batches as know how many they have.",
           ("task",), lambda it: _batches(it, "done")),
    Metric("batch_items_expected", "gauge", "Items in all, of the same batches.",
           ("task",), lambda it: _batches(it, "expected")),
    Metric("batch_items_total", "counter", "Items of batches that are done with, by what became of them.",
           ("task", "result"), lambda it: _table(_of(it, "batch"), _tasks(it), words.ITEM_RESULTS), counted=True),
    Metric("checkpoints", "gauge", "Checkpoints of tasks that have not succeeded.",
           (), lambda it: _one(it.checkpoints)),
)  # fmt: skip
