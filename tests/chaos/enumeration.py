"""Every crash point of every scenario: count the steps, then die at each, recover, and look at the books.

    count     the scenario runs twice, and its steps are written down; a step that came in one run only is `unsteady`
    die       once more for each step, killed before and after it: that process alone, or the whole worker
    recover   another worker takes over, an operator gives his command again
    books     when nothing moves any more, every token must be where it belongs

A point that was not reached is told apart from one that was survived: it proves nothing.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from queue import Queue
from typing import TYPE_CHECKING, Any

from tests.chaos import steps
from tests.chaos.books import story, violations
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.site import Services, Site
from tests.chaos.steps import Target
from tests.chaos.zygote import Nursery, Spawned
from tests.services import RabbitServer, RedisServer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("Enumeration", "Outcome", "Point", "Step", "reproduction")

#: Seconds for an act to end; with a death in it, the lease of the dead is part of it.
PATIENCE = 25.0
#: Seconds that nothing may move before what is there counts as the end.
STILL = 2.0
#: Seconds that an idle worker is watched, to know what it does anyway.
IDLE = 6.5
#: Seconds that a message may be on its way from a broker on this machine to a worker.
ON_ITS_WAY = 0.3
#: Seconds after which an operator whose command did not do it gives it once more.
AGAIN = 3.0
#: Roles whose process is no worker's.
_OPERATORS = ("replay", "command")


@dataclass(frozen=True)
class Step:
    """One I/O step of a scenario."""

    name: str
    #: It came in one of two runs only: a matter of timing.
    unsteady: bool = False
    #: An idle worker does it too.
    background: bool = False

    @property
    def role(self) -> str:
        return self.name.partition(":")[0]

    @property
    def number(self) -> int:
        return int(self.name.rpartition(":")[2])


@dataclass(frozen=True)
class Point:
    """One scenario, one step, one death."""

    broker: str
    scenario: str
    target: Target

    def __str__(self) -> str:
        return f"{self.broker} {self.scenario} {self.target}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """The opposite of `str`."""
        broker, scenario, target = text.split(" ", 2)
        return cls(broker, scenario, Target.parse(target))


@dataclass
class Outcome:
    """What became of one run."""

    broker: str
    scenario: str
    target: str | None
    #: `balanced`, `violated`, or `not reached`: nobody died, so nothing was shown.
    verdict: str = "balanced"
    violations: list[str] = field(default_factory=list)
    story: str = ""
    seconds: float = 0.0
    steps: list[str] = field(default_factory=list)

    @property
    def point(self) -> str:
        """What `Point.parse` reads."""
        return f"{self.broker} {self.scenario} {self.target}"

    def to_dict(self) -> dict[str, Any]:
        return {"point": self.point, **asdict(self)}


def reproduction(outcome: Outcome) -> str:
    """The command that does it again."""
    return f'python -m tests.chaos enumerate --point "{outcome.point}"'


class Enumeration:
    """Runs scenarios on private services; several at a time, because most of a run is waiting."""

    def __init__(self, brokers: Sequence[str] = ("redis", "rabbitmq"), *, parallel: int = 4) -> None:
        self.brokers = tuple(brokers)
        self.parallel = parallel
        self._redis = RedisServer(options=("--databases", "64"))
        self._rabbit = RabbitServer(batch=1) if "rabbitmq" in brokers else None
        self._nursery: Nursery | None = None
        self._numbers = itertools.count(1)
        self._databases: Queue[int] = Queue()
        for number in range(parallel + 1):
            self._databases.put(number)
        self._lock = threading.Lock()
        self._background: dict[str, frozenset[str]] = {}

    def __enter__(self) -> Self:
        self._redis.start()
        if self._rabbit is not None:
            self._rabbit.start()
        self._nursery = Nursery()
        return self

    def __exit__(self, *_: object) -> None:
        if self._nursery is not None:
            self._nursery.close()
        if self._rabbit is not None:
            self._rabbit.close()
        self._redis.close()

    # -- the steps

    def steps(self, broker: str, scenario: str) -> list[Step]:
        """The steps of one scenario, in the order of its first run; raises `RuntimeError` when it fails unharmed."""
        runs = [self.run(broker, SCENARIOS[scenario], None) for _ in range(2)]
        for run in runs:
            if run.verdict != "balanced":
                raise RuntimeError(f"{broker} {scenario} fails with nobody killed: {run.violations}\n{run.story}")
        first, second = (run.steps for run in runs)
        background = self.background(broker)
        return [
            Step(name, unsteady=name not in first or name not in second, background=_operation(name) in background)
            for name in dict.fromkeys([*first, *second])
        ]

    def background(self, broker: str) -> frozenset[str]:
        """What a worker does that has nothing to do."""
        with self._lock:
            if broker not in self._background:
                idle = Scenario("idle", lambda _: {}, {})
                run = self.run(broker, idle, None, idle=IDLE)
                self._background[broker] = frozenset(map(_operation, run.steps))
            return self._background[broker]

    def points(self, broker: str, scenario: str) -> list[Point]:
        """Every steady step, before and after, alone and with the whole worker.

        Of what an idle worker does too, the first of each kind, in the one scenario that lasts long enough.
        """
        found = []
        for step in self.steps(broker, scenario):
            if step.unsteady or (step.background and not (SCENARIOS[scenario].background and step.number == 1)):
                continue
            modes = ("process",) if step.role in _OPERATORS else ("process", "group")
            whens = (
                ("after",) if _operation(step.name).partition(":")[2].startswith(steps.HELD) else ("before", "after")
            )
            found += [Point(broker, scenario, Target(step.name, when, mode)) for when in whens for mode in modes]
        return found

    # -- the runs

    def outcomes(self, points: Sequence[Point], until: float = float("inf")) -> Iterator[Outcome]:
        """Run each, several at a time; yields as they end. None is begun after `until` (monotonic seconds)."""
        todo, done, lock = iter(points), Queue[Outcome | BaseException | None](), threading.Lock()

        def following() -> Point | None:
            with lock:
                return next(todo, None) if time.monotonic() < until else None

        def work() -> None:
            try:
                while point := following():
                    done.put(self.run(point.broker, SCENARIOS[point.scenario], point.target))
            except BaseException as exc:  # noqa: BLE001 - it is raised by the one who waits
                done.put(exc)
            done.put(None)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self.parallel)]
        for thread in threads:
            thread.start()
        for _ in threads:
            yield from iter(lambda: _raised(done.get()), None)

    def run(self, broker: str, scenario: Scenario, target: Target | None, *, idle: float = 0.0) -> Outcome:
        """One run of a scenario, with a death or without."""
        database = self._databases.get()
        site = Site(self._alive(), self._services(broker, database), next(self._numbers), dict(scenario.conf))
        begun = time.monotonic()
        try:
            outcome = _Run(site, scenario, target, idle).outcome(broker)
            outcome.seconds = time.monotonic() - begun
            return outcome
        finally:
            site.close()
            self._databases.put(database)

    def _alive(self) -> Nursery:
        assert self._nursery is not None, "to be used in a with statement"
        return self._nursery

    def _services(self, broker: str, database: int) -> Services:
        url = self._redis.url(database)
        if broker == "redis":
            return Services(broker, url, url)
        assert self._rabbit is not None
        return Services(broker, self._rabbit.url(), url)


class _Run:
    """One scenario on one site."""

    def __init__(self, site: Site, scenario: Scenario, target: Target | None, idle: float) -> None:
        self.site = site
        self.scenario = scenario
        self.target = target
        self.idle = idle
        self.ids: dict[str, str] = {}
        self.operator: tuple[Spawned, tuple[str, list[Any]]] | None = None
        self._again_at: float | None = None

    def outcome(self, broker: str) -> Outcome:
        result = Outcome(broker, self.scenario.name, str(self.target) if self.target else None)
        found = self._acts()
        result.steps = list(
            dict.fromkeys(
                line["step"]
                for line in steps.read_trace(self.site.trace)
                if line["when"] == "before" and not line["step"].endswith(":0")
            )
        )
        if found:
            result.verdict, result.violations = "violated", found
            result.story = "\n".join(story(self.site, token, task_id) for token, task_id in self.ids.items())
        elif self.target is not None and not self._killed():
            result.verdict = "not reached"
        return result

    def _acts(self) -> list[str]:
        worker = self.site.worker(self.target, counted=True)
        if not self.site.ready(worker):
            return [f"the worker did not start:\n{self.site.log[-3000:]}"]
        if not self.scenario.second_only:
            self.site.arm()
        self.ids = self.scenario.send(self.site)
        time.sleep(self.idle)
        found = self._settle(self.scenario.ends)
        if found or self.scenario.second is None:
            return found
        self.site.arm()
        call, arguments = self.scenario.second(self.site, self.ids)
        self.operator = (self.site.other(call, arguments, self.target, counted=True), (call, arguments))
        return self._settle(self.scenario.second_ends)

    def _settle(self, ends: Any) -> list[str]:
        """Wait until all is as it must be, or nothing moves any more, or patience ends; what is wrong then."""
        deadline, still_since = time.monotonic() + PATIENCE, None
        while True:
            self._take_over()
            found = violations(self.site, self.ids, ends, len(self._killed()))
            restless = self._restless(ends)
            if not found and not restless and self._is_still(ends):
                return self._final(ends)
            now = time.monotonic()
            still_since = None if restless else (still_since or now)
            if now > deadline or (still_since is not None and now - still_since > STILL):
                return found + [f"STILL MOVING after {PATIENCE:g} s: {restless}"] * bool(restless)
            time.sleep(0.05)

    def _is_still(self, ends: Any) -> bool:
        """Nothing a moment later either: a message on its way from RabbitMQ to a worker is seen at neither end."""
        time.sleep(ON_ITS_WAY)
        return not self._restless(ends)

    def _final(self, ends: Any) -> list[str]:
        """The last act ends with every process dead: what any of them still held shows now, as a waiting message."""
        last = self.operator is not None or self.scenario.second is None
        if not last:
            return []
        for process in (*self.site.workers, *self.site.others):
            process.kill()
        restless = self._restless(ends)
        left = [f"LEFT OVER when all workers were gone: {restless}"] if restless else []
        return violations(self.site, self.ids, ends, len(self._killed())) + left

    def _restless(self, ends: Any) -> dict[str, int]:
        found = self.site.restless(letters=all(end.letter != "" for end in ends.values()))
        if self.operator is not None and self.operator[0].running:
            found["operator"] = 1
        return found

    def _take_over(self) -> None:
        """What people and supervisors do: another worker for a dead one, the same command again."""
        if not self.site.workers[-1].running:
            self.site.worker()
        if self.operator is not None and not self.operator[0].running and self._again_at is None:
            self._again_at = time.monotonic() + AGAIN
        if self.operator is not None and self._again_at is not None and self._killed():
            self._command_again(self.operator[1])

    def _command_again(self, order: tuple[str, list[Any]]) -> None:
        """At once, and later when that was too early: what a dead command held comes back after its lease."""
        if self.target is None or not self.target.step.startswith(_OPERATORS):
            return
        if len(self.site.others) == 1 or time.monotonic() > (self._again_at or 0):
            self._again_at = None
            self.operator = (self.site.other(order[0], order[1], None), order)

    def _killed(self) -> list[str]:
        return [line["step"] for line in steps.read_trace(self.site.trace) if line["when"] == "killed"]


def _raised(found: Outcome | BaseException | None) -> Outcome | None:
    if isinstance(found, BaseException):
        raise found
    return found


def _operation(name: str) -> str:
    return name.rpartition(":")[0]
