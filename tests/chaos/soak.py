"""The seeded soak: mixed tasks, while children, workers, Redis and RabbitMQ are killed; then the books, token by token.

What the seed fixes is the schedule: which task when, which death when and of whom. What the machine does in between is
its own, so a violation comes again often, not always.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from celery import chain, chord, uuid
from celery.canvas import Signature

from celery_recovery import Letter
from tests.chaos.books import excused, story
from tests.chaos.schedule import KINDS, Kill, Kind, Schedule, Sending
from tests.chaos.site import Services, Site
from tests.chaos.zygote import Nursery
from tests.services import RabbitServer, RedisServer, Service

__all__ = ("Report", "Soak", "services_of")

#: Workers that are kept alive, and the processes of each.
WORKERS, CONCURRENCY = 3, 2
#: Seconds for everything to come to its end once nothing dies any more.
DRAIN = 120.0
#: Seconds that everything may stand still with something left to do: longer than any lease and any patience.
STUCK = 45.0
#: Seconds that nothing may move before it counts as the end.
STILL = 4.0
#: How a task may end that was in a process that died, or ran out of time.
_DEATHS = frozenset({"WorkerLostError", "TimeLimitExceeded", "SoftTimeLimitExceeded"})


@dataclass
class Entry:
    """One token: what was sent, and what may become of it."""

    token: str
    task_id: str
    kind: str
    #: `succeeded`, `dead` or `discarded`.
    end: str
    exception: str = ""
    #: Tokens that must have succeeded before this one is sent at all.
    after: tuple[str, ...] = ()
    #: The broker did not say whether it took it.
    unsure: bool = False


@dataclass
class Report:
    """What a soak found."""

    broker: str
    seed: int
    #: Where tokens are -> how many: `succeeded`, `dead-lettered`, `discarded`, `not sent`, `lost` …
    books: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    stories: list[str] = field(default_factory=list)
    #: Bodies that ran to their end again because their process died before any note of it: allowed.
    excused: int = 0
    #: The same of messages that came again while neither store nor result backend could be asked: allowed, and said.
    unchecked: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        books = ", ".join(f"{count} {place}" for place, count in self.books.most_common())
        kills = ", ".join(f"{count} {victim}" for victim, count in self.kills.most_common())
        found = f"{len(self.violations)} violations" if self.violations else "the books balance"
        again = f"{self.excused} repeated before a note of it, {self.unchecked} while nobody could be asked"
        told = f"{found}; {books}; {again}; killed {kills}; {self.seconds:.0f} s"
        return f"soak on {self.broker}, seed {self.seed}: {told}"


def services_of(broker: str) -> tuple[str, ...]:
    """What can be killed: Redis holds results and letters, whatever the broker is."""
    return ("redis",) if broker == "redis" else ("redis", broker)


class Soak:
    """One soak on one broker, on services of its own. `say` is told how far it is."""

    def __init__(self, broker: str, schedule: Schedule, say: Callable[[str], None] = lambda _: None) -> None:
        self.broker = broker
        self.schedule = schedule
        self.say = say
        makers: dict[str, Callable[[], Service]] = {
            "redis": lambda: RedisServer(appendonly=True), "rabbitmq": lambda: RabbitServer(batch=1),
        }  # fmt: skip
        self.services = {name: makers[name]() for name in services_of(broker)}
        self.entries: list[Entry] = []
        self.deaths: list[float] = []
        self.report = Report(broker, schedule.seed)
        self._back: dict[str, float] = {}
        self._begun = 0.0

    def run(self) -> Report:
        """All of it; the services are gone afterwards."""
        begun, nursery = time.monotonic(), Nursery()
        try:
            for service in self.services.values():
                service.start()
            site = Site(nursery, self._addresses(), 1, {"recovery_park_after": 2})
            try:
                self._live(site)
                self._drain(site)
                self._check(site)
            finally:
                site.close()
        finally:
            nursery.close()
            for service in self.services.values():
                service.close()
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _addresses(self) -> Services:
        redis = self.services["redis"]
        assert isinstance(redis, RedisServer)
        rabbit = self.services.get("rabbitmq")
        return Services(self.broker, rabbit.url() if isinstance(rabbit, RabbitServer) else redis.url(), redis.url())

    # -- the time of deaths

    def _live(self, site: Site) -> None:
        for _ in range(WORKERS):
            site.worker(counted=False, concurrency=str(CONCURRENCY))
        for worker in site.workers:
            if not site.ready(worker):
                raise RuntimeError(f"a worker did not start:\n{worker.log}")
        self._begun = time.monotonic()
        events: list[Sending | Kill] = sorted(
            (*self.schedule.sendings, *self.schedule.kills), key=lambda event: event.at
        )
        told = 0.0
        for event in events:
            while (left := event.at - self._now()) > 0:
                self._tend(site)
                time.sleep(min(left, 0.1))
            self._tend(site)
            if isinstance(event, Kill):
                self._kill(site, event)
            else:
                self._send(site, event)
            if self._now() - told > 5:
                told = self._now()
                self.say(f"{told:5.1f} s: {len(self.entries)} tokens sent, killed {dict(self.report.kills)}")

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _tend(self, site: Site, *, at_once: bool = False) -> None:
        """What supervisors do: services come back after their time, workers at once."""
        for name, due in list(self._back.items()):
            if at_once or self._now() >= due:
                del self._back[name]
                self.services[name].start()
        living = sum(worker.running for worker in site.workers)
        for _ in range(WORKERS - living):
            site.worker(concurrency=str(CONCURRENCY))

    def _kill(self, site: Site, kill: Kill) -> None:
        living = [worker for worker in site.workers if worker.running]
        if kill.victim in self.services:
            if kill.victim in self._back:
                return
            self.services[kill.victim].kill()
            self._back[kill.victim] = self._now() + kill.away
        else:
            worker = living[min(int(kill.which * len(living)), len(living) - 1)]
            children = worker.children
            if kill.victim == "child" and children:
                _end(children[int(kill.which * 997) % len(children)])
            elif kill.victim == "main":
                _end(worker.pid)
            else:
                worker.kill()
        self.deaths.append(time.time())
        self.report.kills[kill.victim] += 1

    def _send(self, site: Site, sending: Sending) -> None:
        signature, entries = _signature(site, sending)
        self.entries += entries
        try:
            signature.apply_async(retry=False)
        except Exception as exc:  # noqa: BLE001 - the broker is away; whether it took the message nobody knows
            self.say(f"        {sending.token} not confirmed: {type(exc).__name__}")
            for entry in entries:
                entry.unsure = True

    # -- the end

    def _drain(self, site: Site) -> None:
        self._tend(site, at_once=True)
        deadline, still_since, before = time.monotonic() + DRAIN, time.monotonic(), ""
        while time.monotonic() < deadline and time.monotonic() - still_since < STUCK:
            self._tend(site)
            restless = site.restless()
            now = f"{restless} {sum(1 for _ in site.ledger.directory.iterdir())}"
            if now != before:
                still_since, before = time.monotonic(), now
                self.say(f"draining: {restless}")
            if not restless and time.monotonic() - still_since > STILL:
                return
            time.sleep(0.5)
        self.report.violations.append(
            f"NOT AT REST {self._now() - self.schedule.length:.0f} s later: {site.restless()}"
        )
        for worker in site.workers:
            if worker.running:
                self.report.stories.append(f"where {worker.pid} is:\n{site.stacks(worker)}")

    def _check(self, site: Site) -> None:
        """Every token in exactly one place; and what is nobody's."""
        letters = site.letters()
        known = {entry.task_id for entry in self.entries}
        places = {entry.token: self._place(site, entry, letters.get(entry.task_id)) for entry in self.entries}
        for entry in self.entries:
            place = places[entry.token]
            found = list(self._wrong(site, entry, place, letters.get(entry.task_id)))
            if place == "nowhere":
                place = self._missing(entry, places)
                if place == "LOST":
                    found.insert(0, "LOST: no success, no letter, no message")
            self.report.books[place] += 1
            if found:
                self.report.violations += [f"{entry.token} ({entry.kind}): {what}" for what in found]
                self.report.stories.append(story(site, entry.token, entry.task_id))
        for letter in letters.values():
            if letter.id not in known:
                self.report.violations.append(f"a letter of nobody's: {letter.id} {letter.task} {letter.reason}")

    def _place(self, site: Site, entry: Entry, letter: Letter | None) -> str:
        result = site.result(entry.task_id)
        state = result["status"] if result else None
        if state == "SUCCESS":
            return "succeeded"
        if letter is not None:
            return "dead-lettered"
        if state == "FAILURE" and (result or {}).get("result", {}).get("exc_type") == "Discard":
            return "discarded"
        return f"reported as {state}" if state in ("FAILURE", "REVOKED") else "nowhere"

    def _missing(self, entry: Entry, places: dict[str, str]) -> str:
        if any(places.get(token) != "succeeded" for token in entry.after):
            return "not sent"
        return "unsure" if entry.unsure else "LOST"

    def _wrong(self, site: Site, entry: Entry, place: str, letter: Letter | None) -> Iterator[str]:
        done = site.ledger.count(entry.token, "end")
        if place.startswith("reported"):
            yield f"FAILED WITHOUT A LETTER: {place}"
        if place == "succeeded":
            yield from _wrong_success(entry, done, letter)
        if place == "dead-lettered" and letter is not None:
            name = letter.error.exception.rpartition(".")[2]
            if name != entry.exception and name not in _DEATHS:
                yield f"WRONG EXCEPTION or no need to die: {letter.error.exception} ({letter.reason}: {letter.detail})"
        if done > 1 and excused(site, entry.token, entry.task_id, self.deaths):
            self.report.excused += done - 1
        elif done > 1 and _ran_unchecked(site, entry.task_id):
            self.report.unchecked += done - 1
        elif done > 1:
            yield f"REPEATED: its body came to its end {done} times"


def _ran_unchecked(site: Site, task_id: str) -> bool:
    """Whether a worker says that it could ask neither the record of the life nor the result backend about this one."""
    return sum(f"[{task_id}] starts unchecked" in line for line in site.log.splitlines()) >= 2


def _wrong_success(entry: Entry, done: int, letter: Letter | None) -> Iterator[str]:
    if not done:
        yield "SUCCESS without its body having come to an end"
    if entry.end != "succeeded":
        yield f"succeeded, but it was to be {entry.end}"
    if letter is not None and letter.state.value not in ("recovered", "discarded"):
        yield f"IN TWO PLACES: succeeded, and a letter {letter.state} ({letter.reason})"


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it ended by itself in this moment
        return


def _signature(site: Site, sending: Sending) -> tuple[Any, list[Entry]]:
    kind = KINDS[sending.kind]
    if sending.kind == "chain":
        return _chain(site, sending.token)
    if sending.kind == "chord":
        return _chord(site, sending.token)
    one = _one(site, kind.task, sending.token, *kind.args, **dict(kind.options))
    return one, [_entry(sending.token, one, sending.kind, kind)]


def _one(site: Site, task: str, *args: Any, **options: Any) -> Signature:
    return site.app.tasks[f"chaos.{task}"].s(*args).set(task_id=uuid(), **options)


def _entry(token: str, signature: Signature, name: str, kind: Kind, after: tuple[str, ...] = ()) -> Entry:
    return Entry(token, signature.options["task_id"], name, kind.end, kind.exception, after)


def _chain(site: Site, token: str) -> tuple[Any, list[Entry]]:
    tokens = [f"{token}.{n}" for n in range(3)]
    links = [_one(site, "flaky", tokens[0]), *(_one(site, "step", one) for one in tokens[1:])]
    entries = [
        _entry(one, link, "chain", KINDS["chain"], tuple(tokens[:n]))
        for n, (one, link) in enumerate(zip(tokens, links, strict=True))
    ]
    return chain(*links, app=site.app), entries


def _chord(site: Site, token: str) -> tuple[Any, list[Entry]]:
    tokens = [f"{token}.{n}" for n in range(3)]
    members = [_one(site, "work", tokens[0]), _one(site, "flaky", tokens[1]), _one(site, "work", tokens[2], 0.2)]
    body = _one(site, "step", f"{token}.body")
    entries = [_entry(one, member, "chord", KINDS["chord"]) for one, member in zip(tokens, members, strict=True)]
    entries.append(_entry(f"{token}.body", body, "chord body", KINDS["chord"], tuple(tokens)))
    return chord(members, body=body, app=site.app), entries
