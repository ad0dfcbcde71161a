"""What is run again and again, and how it must end for every token, whoever died on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from celery import chain, chord, uuid
from celery.canvas import Signature

from tests.chaos.site import Site

__all__ = ("SCENARIOS", "End", "Scenario")

Ids = dict[str, str]


class End(NamedTuple):
    """Where a token must arrive."""

    #: In the result backend; None: nothing there.
    state: str | None
    #: State of its letter; None: no letter.
    letter: str | None = None
    #: How often the body came to its end.
    done: int = 1
    #: How often it began, when nobody is killed. One death is one more.
    starts: int = 1
    #: Class of the exception in result and letter.
    exception: str | None = None


@dataclass(frozen=True)
class Scenario:
    """One or two acts. Steps are counted from the first, or from the second where `second_only`."""

    name: str
    #: Sends; returns the task id of each token.
    send: Callable[[Site], Ids]
    ends: Mapping[str, End]
    #: What the operator does then: a call of `tests.chaos.roles` with its arguments, in a process of its own.
    second: Callable[[Site, Ids], tuple[str, list[Any]]] | None = None
    second_ends: Mapping[str, End] = field(default_factory=dict)
    second_only: bool = False
    #: It lasts long enough for what an idle worker does all the time: that is enumerated here, and nowhere else.
    background: bool = False
    conf: Mapping[str, Any] = field(default_factory=dict)

    @property
    def acts(self) -> int:
        return 2 if self.second else 1


OK = End("SUCCESS")
#: Once more, and well.
SECOND = End("SUCCESS", starts=2)
NOT_YET = End(None, done=0, starts=0)


def _one(task: str, *args: Any, **options: Any) -> Callable[[Site], Ids]:
    def send(site: Site) -> Ids:
        return {"t": site.app.tasks[f"chaos.{task}"].apply_async(("t", *args), **options).id}

    return send


def _sig(site: Site, task: str, *args: Any, **options: Any) -> Signature:
    """A signature whose id is known before it is sent."""
    return site.app.tasks[f"chaos.{task}"].s(*args).set(task_id=uuid(), **options)


def _chain(site: Site) -> Ids:
    links = [_sig(site, "work", "a"), _sig(site, "step", "b"), _sig(site, "step", "c")]
    ids = dict(zip("abc", (link.options["task_id"] for link in links), strict=True))
    chain(*links, app=site.app).apply_async()
    return ids


def _chord_of(*header: tuple[str, str]) -> Callable[[Site], Ids]:
    def send(site: Site) -> Ids:
        members = [_sig(site, task, token) for task, token in header]
        body = _sig(site, "step", "body")
        ids = {token: member.options["task_id"] for (_, token), member in zip(header, members, strict=True)}
        chord(members, app=site.app)(body)
        return {**ids, "body": body.options["task_id"]}

    return send


def _replay(*tokens: str) -> Callable[[Site, Ids], tuple[str, list[Any]]]:
    def act(site: Site, ids: Ids) -> tuple[str, list[Any]]:
        for token in tokens:
            site.ledger.fix(token)
        return "replay", [[ids[token] for token in tokens], 1.0]

    return act


def _replay_by_command(site: Site, ids: Ids) -> tuple[str, list[Any]]:
    site.ledger.fix("t")
    return "command", ["recovery", "dlq", "replay", "--yes", "--id", ids["t"]]


def _discard_by_command(site: Site, ids: Ids) -> tuple[str, list[Any]]:
    return "command", ["recovery", "dlq", "discard", "--yes", "--id", ids["t"]]


def _dead(starts: int = 1, exception: str = "ValueError", state: str = "FAILURE", letter: str = "failed") -> End:
    return End(state, letter, 0, starts, exception)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("success", _one("work"), {"t": OK}),
        Scenario("long", _one("work", 4), {"t": OK}, background=True),
        Scenario("retry", _one("flaky"), {"t": SECOND}),
        Scenario("self_retry", _one("by_hand"), {"t": SECOND}),
        Scenario("exhausted", _one("broken", "network"), {"t": _dead(3, "ConnectionResetError")}),
        Scenario("dead_letter", _one("broken"), {"t": _dead()}),
        Scenario("chain", _chain, dict.fromkeys("abc", OK)),
        Scenario("chord", _chord_of(("work", "a"), ("flaky", "b")), {"a": OK, "b": SECOND, "body": OK}),
        Scenario(
            "held_chord",
            _chord_of(("work", "a"), ("broken", "b")),
            {"a": OK, "b": _dead(state="QUARANTINED"), "body": NOT_YET},
            _replay("b"),
            {"a": OK, "b": End("SUCCESS", "recovered", 1, 2), "body": OK},
        ),
        Scenario(
            "replay", _one("broken"), {"t": _dead()},
            _replay("t"), {"t": End("SUCCESS", "recovered", 1, 2)}, second_only=True,
        ),
        Scenario(
            "replay_by_command", _one("broken"), {"t": _dead(letter="")},
            _replay_by_command, {"t": End("SUCCESS", "recovered", 1, 2)}, second_only=True,
            conf={"recovery_intake": False},
        ),
        Scenario(
            "discard_by_command", _one("broken"), {"t": _dead()},
            _discard_by_command, {"t": _dead(letter="discarded")}, second_only=True,
        ),
        Scenario("snooze", _one("controlled", "snooze"), {"t": SECOND}),
        Scenario("quarantine", _one("controlled", "quarantine"), {"t": _dead(exception="Quarantine")}),
        Scenario("discard", _one("controlled", "discard"), {"t": End("FAILURE", None, 0, 1, "Discard")}),
        Scenario("killed_child", _one("deadly", "kill"), {"t": SECOND}),
        Scenario("poison", _one("deadly", "kill", 99), {"t": _dead(3, "WorkerLostError")}),
        Scenario("exit", _one("deadly", "exit", 99), {"t": _dead(3, "SystemExit")}),
        Scenario("hard_limit", _one("deadly", "sleep", time_limit=1), {"t": SECOND}),
        Scenario(
            "park", _one("controlled", "snooze", 1.5), {"t": SECOND}, conf={"recovery_park_after": 0.5}
        ),
        Scenario("countdown", _one("work", countdown=1.5), {"t": OK}, conf={"recovery_park_after": 0.5}),
    )
}  # fmt: skip
