"""The events that an alert may be about: a small closed set."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ("EVENTS", "QUIET", "TEST", "Event")


class Event(NamedTuple):
    """One kind of alert."""

    #: `"info"`, `"warning"` or `"critical"`.
    severity: str
    #: The title of one, and of several; `{}` is what it is about, or how many.
    one: str
    many: str
    #: What it means, for the documentation.
    doc: str


#: By the word that settings and payloads use.
EVENTS: dict[str, Event] = {
    "group_new": Event("warning", "new group of dead letters: {}", "{} new groups of dead letters",
                       "a group has its first letter"),
    "group_growing": Event("warning", "group of dead letters grows: {}", "{} groups of dead letters grow",
                           "it has 10, 100, 1,000 … deaths in this hour, and that is 3 times as many as usual"),
    "group_regressed": Event("critical", "group has come back: {}", "{} groups have come back",
                             "a group that was resolved has come back"),
    "group_unignored": Event("warning", "group is not ignored any more: {}", "{} groups are not ignored any more",
                             "the time or the number for which a group was ignored is over"),
    "circuit_open": Event("critical", "circuit open: {}", "{} times a circuit opened",
                          "a closed circuit has opened; that it opens again after a probe is no news"),
    "circuit_closed": Event("info", "circuit closed again: {}", "{} times a circuit closed again",
                            "a circuit is closed again"),
    "operation_stopped": Event("critical", "operation stopped by itself: {}", "{} operations stopped by themselves",
                               "a replay was stopped by its canary, or an operation because the broker was away, or "
                               "paused because outcomes did not come; what people ask for is no news"),
    "operation_failed": Event("critical", "operation broke off: {}", "{} operations broke off",
                              "an operation met an error that it cannot deal with, and is paused"),
    "operation_done": Event("info", "operation done: {}", "{} operations done",
                            "an operation is through; only where a sink asks for it by name"),
    "dead_letter_flood": Event("critical", "flood of dead letters: {}", "{} floods of dead letters",
                               "as many dead letters as `recovery_alert_flood` says in so much time; told once in it"),
    "poison": Event("critical", "task crashes its workers: {}", "{} tasks crash their workers",
                    "a task has crashed its worker too often, and is a dead letter"),
}  # fmt: skip
#: Only for sinks that name them.
QUIET = frozenset({"operation_done"})
#: Of `recovery alerts test`.
TEST = Event("info", "test: {}", "{} tests", "")
