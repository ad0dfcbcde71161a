"""Whatever dies, each task ends in one place. Each broker, Redis as result backend."""

from __future__ import annotations

import pytest

from tests.smoke.shop import Shop, eventually

pytestmark = pytest.mark.faults


def test_a_pool_process_is_killed(shop: Shop) -> None:
    """An attempt like any other: the task runs again in a new process, and its result is no failure."""
    sent = shop.send("pack", "o1")
    first = shop.runs_in("o1")
    shop.kill_in_worker(first)
    assert shop.runs_in("o1", nth=2) != first
    shop.ledger.set("packed", 1)
    assert sent.get(timeout=30) == "o1"
    assert shop.books([sent]) == {"succeeded": 1}


def test_a_worker_is_killed(shop: Shop) -> None:
    """In the middle of its work, with tasks waiting: what it had comes back, and the books balance."""
    held = [shop.send("pack", f"p{n}") for n in range(2)]
    eventually(lambda: shop.runs_in("p0") and shop.runs_in("p1"))
    waiting = [shop.send("charge", f"c{n}", n % 3) for n in range(12)]
    waiting += [shop.send("weigh", f"w{n}", -1) for n in range(6)]
    shop.worker.kill()
    assert shop.worker.container.status == "exited"
    assert not any(shop.lines(f"c{n}") for n in range(12))

    shop.worker.restart()
    eventually(lambda: shop.runs_in("p0", nth=2) and shop.runs_in("p1", nth=2))
    shop.ledger.set("packed", 1)
    assert shop.books([*held, *waiting]) == {"succeeded": 14, "dead": 6}
    assert [shop.lines(f"p{n}").count("packed") for n in range(2)] == [1, 1]


@pytest.mark.parametrize("death", ["killed", "restarted"])
def test_the_broker_dies(shop: Shop, death: str) -> None:
    """What it had confirmed is there when it is back; the worker finds it again, and goes on, with nobody's help."""
    held = [shop.send("pack", f"p{n}") for n in range(2)]
    eventually(lambda: shop.runs_in("p0") and shop.runs_in("p1"))
    waiting = [shop.send("charge", f"c{n}") for n in range(5)] + [shop.send("weigh", f"w{n}", -1) for n in range(2)]
    if death == "killed":
        shop.broker.kill()
        assert shop.broker.container.status == "exited"
    shop.broker.restart()
    shop.broker_is_back()
    shop.ledger.set("packed", 1)
    assert shop.books([*held, *waiting]) == {"succeeded": 7, "dead": 2}
    assert [len(shop.lines(f"p{n}")) for n in range(2)] == [2, 2], "begun once, ended once"
