"""What can recover recovers; what cannot waits, is seen, mended and put back. Each broker, Redis as result backend."""

from __future__ import annotations

import pytest
from celery import chord

from tests.smoke.shop import Shop, eventually


def test_a_task_recovers_by_itself(shop: Shop) -> None:
    """Two lost connections cost two retries, and nobody hears of them."""
    assert shop.send("charge", "o1", 2).get(timeout=30) == "o1"
    assert shop.lines("o1") == ["charge"] * 3
    assert shop.books([]) == {}


def test_what_cannot_recover_is_seen_and_put_back(shop: Shop) -> None:
    """Listed with its error; replayed too early it is dead again; replayed when the fault is mended it recovers."""
    sent = shop.send("weigh", "o1", -3)
    with pytest.raises(ValueError, match="weight must be positive, got -3"):
        sent.get(timeout=30)
    (letter,) = shop.recovery("dlq", "list")["letters"]
    assert (letter["id"], letter["task"], letter["state"]) == (sent.id, "shop.weigh", "failed")
    assert (letter["error"]["error_type"], letter["args"]) == ("validation", ["o1", -3])

    shop.recovery("dlq", "replay", sent.id, "--yes")
    shop.letter_is(sent.id, "failed", replays=1)

    shop.ledger.set("mended:scales", 1)
    assert shop.recovery("dlq", "replay", sent.id, "--yes")["published"] == 1
    shop.letter_is(sent.id, "recovered", replays=2)
    assert (shop.lines("o1"), shop.result(sent.id).get(timeout=30)) == (["weigh"] * 3, 3)


def test_a_chord_is_held_open_and_finished_by_a_replay(shop: Shop) -> None:
    """Its dead member is no failure to whoever waits: the body runs once, after the replay, with all the values."""
    parcel = chord([shop.sig("weigh", "o1", 1), shop.sig("weigh", "o2", -2), shop.sig("weigh", "o3", 3)])
    result = parcel(shop.sig("total", "parcel"))
    member = result.parent.results[1]
    eventually(lambda: member.state == "QUARANTINED")
    assert shop.letter_is(member.id, "failed").held
    assert (shop.lines("parcel"), result.state) == ([], "PENDING")

    shop.ledger.set("mended:scales", 1)
    shop.recovery("dlq", "replay", "--all", "--yes")
    assert result.get(timeout=30) == 6
    assert shop.lines("parcel") == ["total 6"]


def test_letters_that_died_of_one_error_are_one_group(shop: Shop) -> None:
    """Seven letters of two errors are two lines, the larger first; a person drops one of them whole."""
    sent = [shop.send("weigh", f"o{n}", -n) for n in range(1, 6)] + [shop.send("address", f"a{n}") for n in range(2)]
    assert shop.books(sent) == {"dead": 7}
    groups = shop.recovery("dlq", "groups")["groups"]
    assert [(group["task"], group["count"]) for group in groups] == [("shop.weigh", 5), ("shop.address", 2)]
    shop.recovery("dlq", "discard", "--fingerprint", groups[1]["fingerprint"], "--note", "no such street", "--yes")
    assert shop.books(sent) == {"dead": 5, "discarded": 2}


def test_an_open_circuit_parks_tasks_and_gives_them_back(shop: Shop) -> None:
    """While the carrier is away it is not called and nothing dies; when it is back, all go."""
    shop.ledger.set("away:carrier", 1)
    sent = [shop.send("ship", f"o{n}") for n in range(4)]
    eventually(lambda: shop.operator.circuits.states().get("carrier") == "open", what="the circuit open")
    sent += [shop.send("ship", f"o{n}") for n in range(4, 10)]
    eventually(lambda: shop.operator.parked.count() == 10, what="all ten parked")
    shop.recovery("circuits", "open", "carrier", "--yes")  # no probe is under way while we look
    parked = shop.recovery("parked", "list")["tasks"]
    assert {(task["id"], task["circuit"]) for task in parked} == {(one.id, "carrier") for one in sent}

    shop.ledger.delete("away:carrier")
    shop.recovery("circuits", "close", "carrier", "--yes")
    assert shop.books(sent) == {"succeeded": 10}
