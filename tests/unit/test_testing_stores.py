"""The stores in memory keep the contract of those in Redis: both are driven side by side, and answer alike."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import redis

from celery_recovery import CheckpointFenced, Letter, LetterState
from celery_recovery.checkpoint import CheckpointStore, Run
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.redis.keys import Keys
from celery_recovery.testing import FakeClock
from celery_recovery.testing.memory_checkpoints import MemoryCheckpoints
from celery_recovery.testing.memory_letters import MemoryLetters
from tests.letters import letter

pytestmark = pytest.mark.redis

IDS = ("a", "b")
OPERATIONS = ("op1", "op2")
#: What both know of a letter; not when something happened, nor how long a lease lasts.
FIELDS = (
    "state", "operation", "token", "number", "copy", "replays", "outcome", "replayed_by", "runtime", "edits", "by",
    "note", "died_at", "first_failure", "attempt", "reason", "body",
)  # fmt: skip


class BothLetters:
    """One store in Redis and one in memory; each call goes to both, and must be answered alike."""

    def __init__(self, client: redis.Redis) -> None:
        self.now = float(int(time.time()))  # no more digits than Redis is told
        self.real, self.memory = DeadLetterStore(client), MemoryLetters(FakeClock(self.now))
        self.dice = random.Random()

    def both(self, name: str, *args: Any, **kwargs: Any) -> Any:
        real, memory = (getattr(store, name)(*args, **kwargs) for store in (self.real, self.memory))
        assert _plain(real) == _plain(memory), (name, args, kwargs)
        return real

    def look(self) -> None:
        for one in IDS:
            assert _known(self.real.get(one)) == _known(self.memory.get(one))

    def step(self) -> str:
        """Something happens."""
        dice = self.dice
        one, operation, known = dice.choice(IDS), dice.choice(OPERATIONS), self.memory.get(dice.choice(IDS))
        token, copy = known.token if known else "", known.copy if known else ""
        token, copy = dice.choice((token, f"{one}:{dice.randint(1, 3)}")), dice.choice((copy, "copy1", "copy2"))
        name = dice.choice(("add", "add", "claim", "claim", "published", "unclaim", "started", "started", "recovered",
                            "settle", "edit"))  # fmt: skip
        if name == "add":
            self.both("add", self._death(one, known))
        elif name == "claim":
            states = dice.choice((list(LetterState), [LetterState.FAILED], [LetterState.REVIEW, LetterState.REPLAYED]))
            states = [state for state in states if state not in (LetterState.RECOVERED, LetterState.DISCARDED)]
            self.both("claim", [one, "unknown"], operation, states=states, max_replays=dice.choice((None, 2)))
        elif name in ("published", "unclaim"):
            self.both(name, [one], operation)
        elif name == "started":
            self.both("started", one, token, copy, "w1", fresh=dice.random() < 0.5)
        elif name == "recovered":
            self.both("recovered", one, copy, 1.5, "w1")
        elif name == "settle":
            self.both("settle", one, copy, dice.choice((LetterState.DISCARDED, LetterState.FAILED)), "told")
        elif known is not None:
            edited = known.changed(body=b"[[1], {}, {}]", edits=known.edits + dice.choice((0, 0, 1)))
            self.both("edit", edited, by="ann", reason="why")
        return name

    def _death(self, one: str, known: Letter | None) -> Letter:
        """A first death, one of a replay, or one that is old news."""
        number = self.dice.randint(0, 3)
        replay = {"token": f"{one}:{number}", "copy": "copy1", "number": number, "operation": "op1"} if number else {}
        died = self.dice.choice((self.now - 50, self.now - 40, self.now + 1000))
        state = self.dice.choice((LetterState.FAILED, LetterState.REVIEW))
        return letter(one, died_at=died, replays=number, replay=replay, state=state, first_failure=died - 5)


def _plain(answer: Any) -> Any:
    if isinstance(answer, list):
        return [
            (one.id, one.status, _known(one.letter), "" if one.status == "leased" else one.detail) for one in answer
        ]
    return answer


def _known(found: Letter | None) -> Any:
    return None if found is None else {name: getattr(found, name) for name in FIELDS}


@pytest.mark.parametrize("seed", range(25))
def test_letters_side_by_side(seed: int, redis_client: redis.Redis) -> None:
    """Whatever happens to two letters, in whatever order, both stores say the same of them."""
    stores = BothLetters(redis_client)
    stores.dice.seed(seed)
    done = set()
    for _ in range(80):
        done.add(stores.step())
        stores.look()
    assert len(done) >= 7


class BothCheckpoints:
    """The same for checkpoints; a fence is known by its run."""

    def __init__(self, client: redis.Redis) -> None:
        kwargs: dict[str, Any] = {"ttl": 1000.0, "kept": 50.0, "most": 100}
        self.client, self.keys = client, Keys()
        self.clock = FakeClock(time.time())
        self.real, self.memory = CheckpointStore(client, self.keys, **kwargs), MemoryCheckpoints(self.clock, **kwargs)
        self.fences: list[tuple[str, str, str, Run]] = []

    def both(self, name: str, real: tuple[Any, ...], memory: tuple[Any, ...]) -> Any:
        answers = []
        for store, args in ((self.real, real), (self.memory, memory)):
            try:
                answers.append(getattr(store, name)(*args))
            except CheckpointFenced:
                answers.append("fenced")
        return answers

    def open(self, name: str, run: Run) -> None:
        real, memory = self.both("open", (name, run), (name, run))
        assert (real == "fenced") == (memory == "fenced")
        if real != "fenced":
            assert real[1] == memory[1]
            self.fences.append((name, real[0], memory[0], run))

    def say(self, name: str, dice: random.Random) -> None:
        if not self.fences:
            return
        where, real, memory, run = dice.choice(self.fences)
        rest: tuple[Any, ...] = (dice.choice((b"1", b'{"n": 2}', b"")),) if name == "save" else (run,)
        answers = self.both(name, (where, real, *rest), (where, memory, *rest))
        assert answers[0] == answers[1]

    def clear(self, name: str) -> None:
        """Forgotten with its fence."""
        assert len(set(self.both("clear", (name,), (name,)))) == 1

    def look(self, name: str) -> None:
        found = self.real.get(name)
        assert (found.state if found else None) == self.memory.state(name)
        left, told = self.client.ttl(self.keys.checkpoint(name)), self.memory.seconds_left(name)
        assert (left == -2) == (told is None)
        assert told is None or abs(left - told) <= 5


@pytest.mark.parametrize("seed", range(15))
def test_checkpoints_side_by_side(seed: int, redis_client: redis.Redis) -> None:
    """Who has a checkpoint, what it is given, and for how long it is kept, is the same here and there."""
    stores, dice = BothCheckpoints(redis_client), random.Random(seed)
    for _ in range(60):
        name, what = dice.choice(IDS), dice.choice(("open", "open", "save", "save", "finish", "clear"))
        if what == "open":
            life = dice.choice(("", "life1", "life2"))
            stores.open(name, Run("t", "id", life, dice.randint(0, 3), 1, "w1", dice.random() < 0.2))
        elif what == "clear":
            stores.clear(name)
        else:
            stores.say(what, dice)
        stores.look(name)


def test_parts_side_by_side(redis_client: redis.Redis) -> None:
    """What the parts of a fanned-out batch say together is the same, and who says it again says it once."""
    stores = BothCheckpoints(redis_client)
    for part, done in ((0, (2, 2, 0, 0)), (1, (1, 0, 1, 0)), (0, (4, 3, 0, 1))):
        real, memory = stores.both("join", ("w", part, done, 9, {}), ("w", part, done, 9, {}))
        assert {**real, "rate": None} == {**memory, "rate": None}
    assert (memory["done"], memory["failed"], memory["discarded"]) == (5, 1, 1)
