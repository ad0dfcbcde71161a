"""`RetryBudget`: of all calls to a dependency, in all workers together, only a share may be retries.

When a dependency is overloaded, retries are what keeps it so. Each first call pays in a share of a retry, each retry
takes one out, and a few per second are always there; the rule and its defaults are Finagle's (20 %, 10 per second,
10 s):

    granted ≤ ratio x calls + floor x window        over the `window` seconds that end with each retry that is granted

The window has ten parts, on Redis's clock. Of the calls only parts that lie wholly in the window count, of the retries
each part that reaches into it: a share of up to a tenth is given away so that never too many are granted.
"""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import count
from typing import Any

from celery_recovery.circuit.outage import outage_of
from celery_recovery.circuit.policy import circuit_name
from celery_recovery.exceptions import ConfigurationError, StoreUnavailable, as_seconds
from celery_recovery.redis.client import connect, reachable
from celery_recovery.redis.keys import BudgetKeys
from celery_recovery.redis.scripts import source

__all__ = ("PARTS", "Bucket", "BudgetView", "RetryBudget")

#: Parts of the window.
PARTS = 10
#: Microseconds in a second; whole numbers of them are the same in Python and in Lua.
MICRO = 1_000_000
#: Longest window in seconds, most calls that are paid in at once, most retries per second.
LONGEST, MOST, FASTEST = 7 * 86400.0, 1_000_000, 1e6
#: Seconds to wait for Redis: a task stands still meanwhile.
TIMEOUT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    """One budget at one moment."""

    name: str
    #: First calls in the window.
    calls: int
    #: Retries granted in the window.
    retries: int
    #: How many the window allows in all: ratio x calls + floor x window.
    allowed: float
    #: Retries granted and refused since the budget is known.
    granted: int
    refused: int
    #: Whether these are the figures of all workers; False: of this process alone, there is no Redis or it is away.
    shared: bool

    @property
    def left(self) -> int:
        """Retries that would be granted now."""
        return max(math.floor(self.allowed - self.retries), 0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "left": self.left}


class Bucket:
    """A budget in memory: that of a process alone, and the model of the scripts. Times are whole microseconds.

    It is not safe in threads.
    """

    def __init__(self, ratio: float, reserve: float, window: int) -> None:
        self.ratio = ratio
        #: Retries that a window allows beside.
        self.reserve = reserve
        self.window = window
        self.granted = self.refused = 0
        self._width = window // PARTS
        #: Begin of a part -> how many.
        self._calls: dict[int, int] = {}
        self._retries: dict[int, int] = {}

    def deposit(self, now: int, calls: int, age: int = 0) -> None:
        """Calls that were made `age` ago."""
        if calls and age < self.window:
            self._count(self._calls, now - age, calls)
            self._tidy(now)

    def withdraw(self, now: int) -> bool:
        """May one more retry go?"""
        calls, retries = self.sums(now)
        if retries + 1 > self.ratio * calls + self.reserve:
            self.refused += 1
            return False
        self.note(now)
        return True

    def note(self, now: int) -> None:
        """A retry was granted, here or elsewhere."""
        self.granted += 1
        self._count(self._retries, now, 1)
        self._tidy(now)

    def sums(self, now: int) -> tuple[int, int]:
        """Calls and retries of the window that ends now."""
        calls = sum(n for start, n in self._calls.items() if now - self.window < start <= now)
        reach = now - self.window - self._width
        return calls, sum(n for start, n in self._retries.items() if reach < start <= now + self.window)

    def _count(self, parts: dict[int, int], at: int, how_many: int) -> None:
        start = at - at % self._width
        parts[start] = parts.get(start, 0) + how_many

    def _tidy(self, now: int) -> None:
        for parts in (self._calls, self._retries):
            for start in [s for s in parts if not now - self.window - self._width < s <= now + self.window]:
                del parts[start]


class RetryBudget:
    """How many retries of one dependency may go, for all who name it alike. Safe in threads, greenlets and forks.

    `ratio` is retries per call, 0 to 1, `floor` retries per second that are always allowed, `window` seconds. `redis`
    is a client or a URL; None: this process has a budget of its own, as it has while Redis is away (then with what this
    process has paid in and taken out, and the whole floor). `freshness` is for how many seconds calls may be counted
    here before they are paid in; 0: at once. Raises ConfigurationError.
    """

    def __init__(
        self,
        name: str,
        *,
        ratio: float = 0.2,
        floor: float = 10.0,
        window: float | timedelta = 10.0,
        redis: Any = None,
        prefix: str = "celery-recovery",
        freshness: float | timedelta = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = circuit_name(name, "budget.name")
        self.ratio = _number(ratio, "budget.ratio", 1.0, "a share from 0 to 1")
        self.floor = _number(floor, "budget.floor", FASTEST, "retries per second, from 0 to 1,000,000")
        if not self.ratio and not self.floor:
            raise ConfigurationError.of("budget.floor", expected="retries per second > 0 where ratio is 0", got=floor)
        width = round(_window(window) * MICRO / PARTS)
        self.window = width * PARTS / MICRO
        self.freshness = as_seconds(freshness, "budget.freshness", most=LONGEST)
        self._clock = clock
        self._bucket = Bucket(self.ratio, self.floor * self.window, width * PARTS)
        self._pending, self._pending_since = 0, 0
        self._lock = threading.Lock()
        self._shared = None if redis is None else _Shared(redis, BudgetKeys(prefix, name), self._bucket)

    def deposit(self, calls: int = 1) -> None:
        """So many first calls are made; their retries pay in nothing. A round trip once per `freshness` at most."""
        if isinstance(calls, bool) or not isinstance(calls, int) or not 0 <= calls <= MOST:
            raise ConfigurationError.of("budget.calls", expected=f"a whole number from 0 to {MOST:,}", got=calls)
        if not calls:
            return
        now = self._now()
        with self._lock:
            self._bucket.deposit(now, calls)
            if self._shared is None:
                return
            self._pending_since = self._pending_since if self._pending else now
            self._pending += calls
            due = now - self._pending_since >= self.freshness * MICRO
        if due:
            self.flush()

    def withdraw(self) -> bool:
        """May one more retry go? True takes it out of the budget. One round trip."""
        shared = self._shared
        if shared is not None and not shared.outage.resting:
            try:
                granted = shared.withdraw(*self._take_pending())
            except StoreUnavailable as exc:
                shared.outage.failed(exc)
            else:
                shared.outage.answered()
                self._noted(granted)
                return granted
        with self._lock:
            return self._bucket.withdraw(self._now())

    def read(self) -> BudgetView:
        """What it looks like; while Redis is away, what this process knows."""
        shared = self._shared
        if shared is not None and not shared.outage.resting:
            try:
                figures = shared.read()
            except StoreUnavailable as exc:
                shared.outage.failed(exc)
            else:
                shared.outage.answered()
                return self._view(*figures, shared=True)
        with self._lock:
            return self._view(*self._bucket.sums(self._now()), self._bucket.granted, self._bucket.refused, shared=False)

    def flush(self) -> None:
        """Pay in what is counted here. What cannot be paid in is lost: that allows fewer retries, never more."""
        shared = self._shared
        if shared is None or not self._pending or shared.outage.resting:
            return
        calls, age = self._take_pending()
        if not calls:
            return
        try:
            shared.deposit(calls, age)
        except StoreUnavailable as exc:
            shared.outage.failed(exc)
        else:
            shared.outage.answered()

    def _take_pending(self) -> tuple[int, int]:
        """The calls to be paid in, and how long ago the first of them was made."""
        now = self._now()
        with self._lock:
            calls, self._pending = self._pending, 0
            return calls, max(now - self._pending_since, 0) if calls else 0

    def _noted(self, granted: bool) -> None:
        """What it was told counts here too: it may be alone soon."""
        with self._lock:
            if granted:
                self._bucket.note(self._now())
            else:
                self._bucket.refused += 1

    def _view(self, calls: int, retries: int, granted: int, refused: int, *, shared: bool) -> BudgetView:
        allowed = self.ratio * calls + self._bucket.reserve
        return BudgetView(
            name=self.name, calls=calls, retries=retries, allowed=allowed, granted=granted, refused=refused,
            shared=shared,
        )  # fmt: skip

    def _now(self) -> int:
        return int(self._clock() * MICRO)


class _Shared:
    """The budget in Redis. Raises `StoreUnavailable`."""

    def __init__(self, redis: Any, keys: BudgetKeys, bucket: Bucket, *, clock: str | int = "") -> None:
        timeouts = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        self.client = connect(redis, **timeouts) if isinstance(redis, str) else redis
        self.outage = outage_of(self.client)
        #: Microseconds that go for the server's clock, in tests; "": the server's.
        self.clock = clock
        self._root = keys.root
        self._rule = (bucket.window, repr(bucket.ratio), repr(bucket.reserve))
        self._scripts = {name: self.client.register_script(source(f"budget/{name}", keys.lua)) for name in _SCRIPTS}
        self._token, self._numbers = secrets.token_hex(6), count(1)

    def withdraw(self, calls: int = 0, age: int = 0) -> bool:
        """Pay in the calls and ask for a retry."""
        return bool(self._run("withdraw", *self._question(), *self._rule, calls, age, self.clock))

    def deposit(self, calls: int, age: int) -> None:
        """Pay in the calls."""
        self._run("deposit", *self._question(), self._rule[0], calls, age, self.clock)

    def read(self) -> tuple[int, int, int, int]:
        """Calls, retries, granted, refused."""
        calls, retries, granted, refused = self._run("read", self._rule[0], self.clock)
        return int(calls), int(retries), int(granted), int(refused)

    def _question(self) -> tuple[str, int]:
        """Who asks, one thing at a time, and which number its question has: a repeated one is known by it."""
        return f"{self._token}.{os.getpid():x}.{threading.get_ident():x}", next(self._numbers)

    def _run(self, name: str, *arguments: Any) -> Any:
        with reachable(self.client):
            return self._scripts[name](keys=[self._root], args=arguments)


_SCRIPTS = ("deposit", "read", "withdraw")


def _number(value: Any, option: str, most: float, expected: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most:
        return float(value)
    raise ConfigurationError.of(option, expected=expected, got=value)


def _window(value: Any) -> float:
    return as_seconds(value, "budget.window", least=0.001, most=LONGEST)
