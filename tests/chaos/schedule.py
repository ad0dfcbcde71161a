"""What a soak does, drawn from its seed before it starts: which tasks when, and who is killed when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ("KINDS", "Kill", "Kind", "Schedule", "Sending")


class Kind(NamedTuple):
    """A sort of task, and how it may end where nobody dies."""

    task: str
    args: tuple[object, ...] = ()
    options: tuple[tuple[str, object], ...] = ()
    #: `succeeded`, `dead` or `discarded`.
    end: str = "succeeded"
    #: Class of the exception that its letter and its result may name, beside those of a process's death.
    exception: str = ""
    #: How many of a hundred.
    share: int = 5


#: The mixture. Canvases are kinds too: their name is what the soak builds.
KINDS: dict[str, Kind] = {
    "work": Kind("work", share=17),
    "slow": Kind("work", (0.4,), share=10),
    "flaky": Kind("flaky", (1,), share=10),
    "twice flaky": Kind("flaky", (2,), share=5),
    "retry by hand": Kind("by_hand", (0.2, 2), share=6),
    "exhausted": Kind("broken", ("network",), end="dead", exception="ConnectionResetError", share=6),
    "broken": Kind("broken", end="dead", exception="ValueError", share=6),
    "snooze": Kind("controlled", ("snooze", 0.5), share=3),
    "retry in": Kind("controlled", ("retry_in", 0.5), share=3),
    "quarantine": Kind("controlled", ("quarantine",), end="dead", exception="Quarantine", share=3),
    "discard": Kind("controlled", ("discard",), end="discarded", exception="Discard", share=3),
    "parked": Kind("work", options=(("countdown", 4),), share=4),
    "parked by snooze": Kind("controlled", ("snooze", 4), share=3),
    "kills its process": Kind("deadly", ("kill",), share=3),
    "kills every process": Kind("deadly", ("kill", 99), end="dead", exception="WorkerLostError", share=1),
    "exits": Kind("deadly", ("exit", 99), end="dead", exception="SystemExit", share=2),
    "hard limit": Kind("deadly", ("sleep",), (("time_limit", 1),), share=1),
    "soft limit": Kind("deadly", ("sleep",), (("soft_time_limit", 1),), share=1),
    "unwritable": Kind("unwritable", end="dead", exception="EncodeError", share=2),
    "hungry": Kind("hungry", share=3),
    "chain": Kind("", share=4),
    "chord": Kind("", share=4),
}


class Sending(NamedTuple):
    """One submission."""

    #: Seconds after the start.
    at: float
    kind: str
    #: What the ledger knows it by; canvases add a suffix for each member.
    token: str


class Kill(NamedTuple):
    """One death."""

    #: Seconds after the start.
    at: float
    #: `child`, `main` (its children live on for a moment), `worker`, `redis` or `rabbitmq`.
    victim: str
    #: Which one, as a share of those that live then: 0 the first, 1 the last.
    which: float
    #: Seconds until a service is started again.
    away: float


@dataclass(frozen=True)
class Schedule:
    """Everything that happens in one soak."""

    seed: int
    sendings: tuple[Sending, ...]
    kills: tuple[Kill, ...]
    #: Seconds from the first to the last event.
    length: float

    @classmethod
    def of(cls, seed: int, *, tasks: int, seconds: float, services: tuple[str, ...], every: float = 3.0) -> Schedule:
        """The same for the same arguments, on every machine. `every`: mean seconds between two deaths."""
        dice = random.Random(seed)
        names = [name for name, kind in KINDS.items() for _ in range(kind.share)]
        sendings = sorted(
            (round(dice.uniform(0, seconds), 3), dice.choice(names), f"{number:05d}") for number in range(tasks)
        )
        return cls(seed, tuple(Sending(*one) for one in sendings), _kills(dice, seconds, services, every), seconds)


def _kills(dice: random.Random, seconds: float, services: tuple[str, ...], every: float) -> tuple[Kill, ...]:
    """Each service dies at least once, in the middle third; the rest are drawn, processes far more often."""
    kills = [
        Kill(round(dice.uniform(seconds / 3, seconds * 2 / 3), 3), name, 0, dice.uniform(0.5, 2)) for name in services
    ]
    victims = ["child"] * 6 + ["worker"] * 3 + ["main"] * 2 + list(services)
    for _ in range(max(3, int(seconds / every))):
        at, victim = round(dice.uniform(1, seconds), 3), dice.choice(victims)
        kills.append(Kill(at, victim, dice.random(), round(dice.uniform(0.5, 2), 3)))
    return tuple(sorted(kills))
