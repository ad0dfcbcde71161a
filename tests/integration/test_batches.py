"""`self.batch` in real workers: what became of each item, of its letter, and of the task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from celery_recovery import Filter, LetterState
from celery_recovery.dead_letters.editing import Edit
from tests.integration.batches_client import Batches, numbers
from tests.integration.jobs_client import eventually
from tests.services import Worker


@pytest.fixture
def jobs(worker: Callable[..., Worker], broker_url: str, other_redis_url: str) -> Batches:
    return Batches(worker, broker_url, other_redis_url)


@pytest.fixture
def on_redis(worker: Callable[..., Worker], redis_url: str, other_redis_url: str) -> Batches:
    return Batches(worker, redis_url, other_redis_url)


@pytest.mark.parametrize("how", ["loop", "each"])
def test_bad_items_are_set_aside(jobs: Batches, how: str) -> None:
    """The rest goes on; each bad one is a letter with its own error, and alone in its replay."""
    jobs.worker(concurrency=1)
    result = jobs.send(how, "token", 20, {"3": "bad", "11": "odd", "19": "quarantine", "5": "discard"}).get(timeout=30)
    assert (result["status"], result["total"]) == ("succeeded_with_failures", 20)
    assert (result["succeeded"], result["failed"], result["discarded"]) == (16, 3, 1)
    assert jobs.done("token") == numbers(20, 3, 5, 11, 19)
    assert jobs.begun("token") == (1 if how == "each" else 7)  # once more for each failure, and for each try of 11
    letters = jobs.items("token")
    assert [letter.error.message for letter in letters] == ["row 3 is bad", "row 11 is odd", "row 19 is strange"]
    assert [letter.state for letter in letters] == [LetterState.FAILED, LetterState.FAILED, LetterState.REVIEW]
    assert [len(letter.attempts) for letter in letters] == [1, 3, 1]
    assert {letter.parent_id for letter in letters} == {"token"}
    shown = letters[0].to_dict()["batch"]
    assert shown["items"][0]["value"] == {"id": 3, "do": "bad"}
    assert shown["items"][0]["key"] == ("3" if how == "loop" else None)
    assert jobs.store.names() == []

    jobs.ledger.client.set("tries:token:11", 5)
    jobs.dead_letters.replay([letters[1].id])  # odd as ever: it dies again, under the same id
    again = jobs.letter(letters[1].id, replays=1)
    assert again.batch == letters[1].batch
    assert jobs.done("token") == numbers(20, 3, 5, 11, 19)


def test_an_item_is_tried_again_in_place(on_redis: Batches) -> None:
    """What passes with time is waited for a little; the task has one attempt, and no letter."""
    on_redis.worker(concurrency=1)
    result = on_redis.send("each", "token", 10, {"4": "away:2", "7": "odd:1"}, max_delay=0.2).get(timeout=30)
    assert (result["status"], result["succeeded"]) == ("succeeded", 10)
    assert on_redis.ledger.lines("token").count("away 4") == 2
    assert on_redis.done("token") == numbers(10)
    assert on_redis.items("token") == []


def test_a_failure_that_would_pass_is_the_items_own_if_the_next_succeeds(on_redis: Batches) -> None:
    on_redis.worker(concurrency=1)
    special = {"2": "away:3", "4": "away", "5": "away", "9": "away"}
    result = on_redis.send("loop", "token", 10, special, max_delay=0.1).get(timeout=30)
    assert (result["succeeded"], result["failed"]) == (7, 3)
    assert [letter.batch["items"][0]["position"] for letter in on_redis.items("token")] == [4, 5, 9]
    assert {letter.error.error_type.value for letter in on_redis.items("token")} == {"network"}


def test_all_alike_is_one_failure_of_the_task(on_redis: Batches) -> None:
    """It stops, with the letters it has, as a dead letter that keeps where it stood."""
    on_redis.worker(concurrency=1)
    special = {str(n): "bad" for n in range(60, 1000)}
    on_redis.send("each", "token", 1000, special)
    letter = on_redis.letter("token")
    assert letter.error.rule == "recovery.batch_stopped"
    assert "items failed alike (max_alike 0.3); batch 1 stops at item" in letter.error.message
    items = on_redis.items("token")
    assert 25 <= len(items) <= 27  # 26 of 86
    assert {one.error.fingerprint for one in items} == {letter.error.fingerprint}
    saved = on_redis.store.get("batch:1:id:token")
    assert saved is not None
    assert saved.state["done"] == 60 + len(items)
    on_redis.ledger.client.set("go:token", 1)


def test_too_many(on_redis: Batches) -> None:
    on_redis.worker(concurrency=1)
    on_redis.send("each", "token", 100, {str(n): "bad" for n in range(0, 100, 10)}, max_failures=3)
    letter = on_redis.letter("token")
    assert letter.error.message.startswith("4 items failed (max_failures 3); batch 1 stops at item 31")
    assert len(on_redis.items("token")) == 4
    on_redis.dead_letters.replay(["token"])  # somebody has looked at it: it goes on, as far as the limit again
    eventually(lambda: on_redis.done("token") == Counter(str(n) for n in range(70) if n % 10), what="four more")
    on_redis.letter("token", replays=1, state=LetterState.FAILED)
    assert len(on_redis.items("token")) == 8


def test_failing_by_policy(on_redis: Batches) -> None:
    """`on_failures="fail"`: the items have letters, the task has none."""
    on_redis.worker(concurrency=1)
    sent = on_redis.send("loop", "token", 10, {"4": "bad"}, on_failures="fail")
    with pytest.raises(Exception, match="1 of 10 items were set aside: recovery dlq list --parent token"):
        sent.get(timeout=30)
    assert len(on_redis.items("token")) == 1
    assert on_redis.letters() == 1
    assert on_redis.store.names() == []


def test_replayed_alone(jobs: Batches) -> None:
    """The same body runs for this one item, with the value that it was changed to; its letter hears of the end."""
    jobs.worker(concurrency=1)
    jobs.send("loop", "token", 10, {"3": "bad", "7": "bad"}).get(timeout=30)
    third, seventh = jobs.items("token")
    [sample] = jobs.dead_letters.try_edit([third.id], Edit.of(["item.do="])).samples
    assert (sample.before["do"], sample.after["do"]) == ("bad", "")
    assert jobs.dead_letters.edit([third.id], ["item.do="]).done == 1
    jobs.dead_letters.replay([third.id, seventh.id])
    jobs.letter(third.id, state=LetterState.RECOVERED)
    jobs.letter(seventh.id, state=LetterState.FAILED, replays=1)
    assert jobs.done("token") == numbers(10, 7)
    assert jobs.ledger.lines("token").count("bad 7") == 2
    assert jobs.result(third.id).get(timeout=10)["succeeded"] == 1
    assert jobs.store.names() == []


@pytest.mark.parametrize("how", ["loop", "each", "chunks"])
def test_replayed_together(jobs: Batches, how: str) -> None:
    """One task for all of them; each has its own end."""
    jobs.worker(concurrency=1)
    args = ({"3": "bad", "7": "bad", "8": "bad"}, *((5,) if how == "chunks" else ()))
    jobs.send(how, "token", 12, *args).get(timeout=30)
    letters = jobs.items("token")
    assert [one.error.message for one in letters] == ["row 3 is bad", "row 7 is bad", "row 8 is bad"]
    jobs.dead_letters.edit([letters[0].id, letters[2].id], ["item.do="])
    before = len(jobs.ledger.lines("token"))
    result = jobs.dead_letters.replay(Filter(parent=("token",)), regroup=True)
    assert (result.selected, result.published) == (3, 3)
    for letter, state in zip(letters, (LetterState.RECOVERED, LetterState.FAILED, LetterState.RECOVERED), strict=True):
        jobs.letter(letter.id, state=state, replays=1)
    again = jobs.letter(letters[1].id)
    assert (again.parent, again.batch["items"][0]["position"], len(again.attempts)) == ("token", 7, 1)
    begun = [line for line in jobs.ledger.lines("token")[before:] if line == "begin"]
    assert len(begun) == {"loop": 2, "each": 1, "chunks": 0}[how]
    if how != "chunks":
        assert jobs.done("token") == numbers(12, 7)
    eventually(lambda: jobs.store.names() == [], what="the end of the batch")


@pytest.mark.parametrize("special", [{"37": "bad"}, {"0": "bad", "37": "odd", "99": "bad", "98": "bad"}])
def test_bulk_calls_are_halved(on_redis: Batches, special: dict[str, str]) -> None:
    """The bad ones are found, in few calls; the others are done once."""
    on_redis.worker(concurrency=1)
    result = on_redis.send("chunks", "token", 100, special, 32).get(timeout=30)
    assert (result["succeeded"], result["failed"]) == (100 - len(special), len(special))
    rows = Counter(on_redis.ledger.client.lrange("rows:token", 0, -1))
    assert rows == numbers(100, *map(int, special))
    assert [letter.batch["items"][0]["position"] for letter in on_redis.items("token")] == sorted(map(int, special))
    calls = [line for line in on_redis.ledger.lines("token") if line.startswith("call")]
    assert len(calls) - 4 <= 2 * len(special) * 5  # log2(32)


def test_a_bulk_call_that_would_pass_is_made_again_as_a_whole(on_redis: Batches) -> None:
    on_redis.worker(concurrency=1)
    result = on_redis.send("chunks", "token", 20, {"3": "away:2"}, 10, max_delay=0.1).get(timeout=30)
    assert (result["succeeded"], result["failed"]) == (20, 0)
    assert [line for line in on_redis.ledger.lines("token") if line.startswith("call")] == ["call 10"] * 4


def test_progress(jobs: Batches) -> None:
    """State PROGRESS says how far it is, of a list also how much is left."""
    jobs.worker(concurrency=1)
    special = {str(n): "slow:0.05" for n in range(60)}
    sent = jobs.send("loop", "token", 60, special | {"5": "bad"}, listed=True, flush_every=5, progress_every=0.2)
    told = eventually(lambda: sent.state == "PROGRESS" and sent.info["failed"] and sent.info, what="progress")
    assert (told["total"], told["failed"]) == (60, 1)
    assert 0 < told["done"] < 60
    assert told["rate"] > 0
    assert told["remaining"] == pytest.approx((60 - told["done"]) / told["rate"])
    assert sent.get(timeout=30)["total"] == 60


def test_under_a_call_of_the_users(on_redis: Batches) -> None:
    """`__call__` that a base class overrides is run again with the body."""
    on_redis.worker(concurrency=1)
    assert on_redis.send("wrapped", "token", 6, {"2": "bad"}).get(timeout=30)["failed"] == 1
    assert on_redis.ledger.lines("token").count("wrapped") == 2
    assert on_redis.done("token") == numbers(6, 2)


def test_two_batches(on_redis: Batches) -> None:
    """Each has its own; a replayed item of the second leaves the first alone."""
    on_redis.worker(concurrency=1)
    result = on_redis.send("two", "token", {"2": "bad:2"}).get(timeout=30)
    assert [(one["batch"], one["succeeded"], one["failed"]) for one in result["batches"]] == [
        ("1", 4, 1),
        ("second", 4, 1),
    ]
    assert on_redis.done("token") == on_redis.done("token:second") == numbers(5, 2)
    [first, second] = on_redis.items("token")
    assert {first.batch["name"], second.batch["name"]} == {"1", "second"}
    assert first.id != second.id
    on_redis.ledger.client.set("tries:token:second:2", 5)
    on_redis.dead_letters.replay([(first if first.batch["name"] == "second" else second).id])
    eventually(lambda: on_redis.done("token:second") == numbers(5), what="the replay")
    assert on_redis.done("token") == numbers(5, 2)


def test_a_source_that_has_changed(on_redis: Batches) -> None:
    """Nobody can tell what is done: the task is a dead letter, at once, that keeps where it stood."""
    on_redis.worker(concurrency=1)
    on_redis.send("loop", "token", 20, {"9": "quit"}, flush_every=5)
    on_redis.letter("token")
    saved = on_redis.store.get("batch:1:id:token")
    assert saved is not None
    assert saved.state["done"] == 9
    on_redis.store.client.hset(on_redis.store.keys.checkpoint("batch:1:id:token"), "state", json.dumps(
        {**saved.state, "digest": "0" * 32}
    ))  # fmt: skip
    on_redis.dead_letters.replay(["token"])
    letter = on_redis.letter("token", replays=1, state=LetterState.FAILED)
    assert (letter.error.rule, letter.attempt) == ("recovery.source_changed", 1)
    assert "the keys of its first 9 items are not what they were" in letter.error.message
    assert on_redis.done("token") == numbers(9)


def test_left_early(on_redis: Batches) -> None:
    """What comes after `break` has nothing to do with the item that the loop had."""
    on_redis.worker(concurrency=1)
    result = on_redis.send("left", "token", {"1": "bad"}).get(timeout=30)
    assert [(one["status"], one["failed"]) for one in result["batches"]] == [
        ("incomplete", 0), ("succeeded_with_failures", 1),
    ]  # fmt: skip
    assert on_redis.done("token:second") == numbers(5, 1)
    assert on_redis.done("token") == Counter({"0": 1, "1": 1, "2": 2})
    assert [letter.batch["name"] for letter in on_redis.items("token")] == ["2"]


def test_a_body_that_fails_when_it_is_run_again(on_redis: Batches) -> None:
    """Before its batch: that is the task's failure, and the item keeps its letter."""
    on_redis.worker(concurrency=1)
    on_redis.send("late", "token")
    letter = on_redis.letter("token")
    assert letter.error.message == "a bad beginning"
    [item] = on_redis.items("token")
    on_redis.dead_letters.replay(["token"])
    eventually(lambda: on_redis.done("token") == numbers(5, 3), what="the rest")
    assert on_redis.dead_letters.get(item.id).state == LetterState.FAILED


def test_events(on_redis: Batches) -> None:
    """With -E whoever watches the cluster sees the state and how far it is, as Flower does."""
    on_redis.worker(concurrency=1, options=("-E",))
    heard: list[str] = []
    seen = on_redis.app.events.State()

    def hear(event: dict[str, Any]) -> None:
        if not heard:  # its heart beats: now we listen
            special = {str(n): "slow:0.05" for n in range(60)}
            on_redis.send("loop", "token", 60, special, listed=True, flush_every=5, progress_every=0.1)
        heard.append(event["type"])
        seen.event(event)

    with on_redis.app.connection_for_read() as connection:
        receiver = on_redis.app.events.Receiver(connection, handlers={"*": hear})
        with receiver.consumer_context():
            for _ in receiver.consume(limit=200, timeout=20, wakeup=False):
                if "task-progress" in heard:
                    break
    task = seen.tasks["token"]
    assert (task.state, task.name) == ("PROGRESS", "tests.apps.batches.loop")
    assert task.result.endswith(" of 60")


def test_many_replayed_together(jobs: Batches) -> None:
    """As many as the headers of a message hold: RabbitMQ wants them in one frame."""
    jobs.worker(concurrency=1)
    unlimited = {"max_share": None, "max_alike": None}
    jobs.send("each", "token", 400, {str(n): "bad" for n in range(400)}, **unlimited).get(timeout=60)
    ids = [letter.id for letter in jobs.items("token")]
    assert len(ids) == 400
    jobs.dead_letters.edit(ids, ["item.do="])
    before = len(jobs.ledger.lines("token"))
    assert jobs.dead_letters.replay(Filter(parent=("token",)), regroup=True).published == 400
    eventually(lambda: jobs.done("token") == numbers(400), 60, "the replay")
    assert jobs.ledger.lines("token")[before:].count("begin") in range(2, 6)
    eventually(lambda: jobs.dead_letters.count(Filter(state=(LetterState.RECOVERED,))) == 400, 30, "their ends")
