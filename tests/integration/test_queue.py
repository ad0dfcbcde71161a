"""The operator's object: looking, replaying, discarding."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.canvas import Signature

from celery_recovery.dead_letters.carrying import line_of, read_line
from celery_recovery.dead_letters.exchange import Publisher
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.intake import PREFETCH
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.listed import ListedLetters
from celery_recovery.dead_letters.packing import packed, unpacked
from celery_recovery.dead_letters.queue import DeadLetterQueue
from celery_recovery.dead_letters.replay import NOT_REPLAYABLE, Progress
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.exceptions import ConfigurationError, LetterNotFound, PublishFailed, Unroutable
from celery_recovery.recovery import Recovery
from celery_recovery.redis import connect
from tests.letters import DIED_AT, body, headers, letter, redied


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """An application that no worker runs: what is published stays where a test can read it."""
    app = Celery("shop", broker=redis_url, backend=redis_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def queue(app: Celery, other_redis_url: str) -> DeadLetterQueue:
    return DeadLetterQueue(app, DeadLetterStore(connect(other_redis_url)), Publisher(app, timeout=5))


def fill(queue: DeadLetterQueue, count: int, **options: Any) -> list[str]:
    """Store so many letters, the first the oldest; returns their ids."""
    letters = [letter(f"task-{n:03}", died_at=DIED_AT + n, **options) for n in range(count)]
    queue.store.add_many(letters)
    return [one.id for one in letters]


def sent(app: Celery, queue: str = "celery") -> list[Any]:
    """Take everything out of a broker's queue."""
    with app.connection_for_read() as connection:
        bound = app.amqp.queues[queue](connection.default_channel)
        bound.declare()
        messages = []
        while (message := bound.get(no_ack=True)) is not None:
            messages.append(message)
    return messages


class TestLooking:
    def test_three_queues(self, queue):
        """Failed, retry and review each show their own letters; retry also those whose outcome is not known yet."""
        ids = fill(queue, 5)
        queue.send_to_review(ids[:1])
        queue.store.claim(ids[1:3], "op")
        queue.store.published(ids[2:3], "op")
        assert [view.count() for view in (queue.failed, queue.retry, queue.review)] == [2, 2, 1]
        assert [one.id for one in queue.retry.list()] == ["task-002", "task-001"]
        assert queue.failed.count(Filter(ids=("task-004",))) == 1

    def test_get_unknown(self, queue):
        """An unknown id is an error that names it."""
        with pytest.raises(LetterNotFound, match="no-such"):
            queue.get("no-such")

    def test_drain(self, app, other_redis_url):
        """`drain` moves what waits in the broker's queue into the store, a batch at a time, and tells how far it is."""
        app.conf.recovery_redis_url = other_redis_url
        recovery = Recovery.of(app)
        with app.connection_for_write() as connection:
            producer = connection.Producer()
            for n in range(PREFETCH + 1):
                place = {"exchange": recovery.dead_letter_queue.exchange, "routing_key": "celery.dead_letters"}
                producer.publish(body(n), headers=headers(f"task-{n}"), declare=[recovery.dead_letter_queue], **place)
        told: list[int] = []
        assert recovery.dead_letters.drain(told.append) == PREFETCH + 1
        assert told == [PREFETCH, PREFETCH + 1]
        assert recovery.dead_letters.count() == PREFETCH + 1
        assert recovery.dead_letters.drain() == 0


class TestReplay:
    def test_message(self, app, queue):
        """A replay is the same task, at its first attempt and due at once, with a token and its history."""
        queue.store.add(letter("a", body=body(7, currency="EUR"), priority=4, extra={"x-death": [], "stamp": "s"}))
        result = queue.replay(["a"])
        [message] = sent(app)
        assert (result.published, result.failed, dict(result.skipped)) == (1, {}, {})
        assert message.payload == [
            [7],
            {"currency": "EUR"},
            {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
        ]
        headers = message.headers
        assert {name: headers[name] for name in ("id", "task", "retries", "eta", "expires", "timelimit", "stamp")} == {
            "id": "a", "task": "orders.charge", "retries": 0, "eta": None, "expires": None, "timelimit": [30, 20],
            "stamp": "s",
        }  # fmt: skip
        assert not [name for name in headers if name.startswith("x-")]
        replay = headers["recovery"]["replay"]
        assert (replay["number"], replay["operation"]) == (1, result.operation)
        assert headers["recovery"]["attempts"][0]["message"] == "slow"
        assert message.properties["priority"] == 4
        assert queue.get("a").state is LetterState.REPLAYED

    def test_oldest_first(self, app, queue):
        """Letters are replayed in the order in which they died, and a limit takes the oldest."""
        ids = fill(queue, 30)
        queue.replay(Filter(), limit=20)
        assert [message.headers["id"] for message in sent(app)] == ids[:20]
        assert queue.failed.count() == 10

    def test_queues(self, app, queue):
        """A letter goes back to its queue, or to another when told; without any origin, to the app's default queue."""
        queue.store.add_many([letter("a", queue="slow"), letter("b", queue="slow"), letter("c", queue=None)])
        queue.replay(["a", "c"])
        queue.replay(["b"], to_queue="repair")
        assert [message.headers["id"] for message in sent(app, "slow")] == ["a"]
        assert [message.headers["id"] for message in sent(app, "repair")] == ["b"]
        assert [message.headers["id"] for message in sent(app)] == ["c"]

    def test_review_is_left_alone(self, app, queue):
        """Letters in review are replayed only when named, by id or by state."""
        fill(queue, 3)
        queue.send_to_review(["task-000", "task-001"])
        assert queue.replay(Filter(task=("orders.*",))).published == 1
        assert queue.replay(["task-000"]).published == 1
        assert queue.replay(Filter(state=(LetterState.REVIEW,))).published == 1

    def test_dry_run(self, app, queue):
        """A dry run counts and changes nothing."""
        fill(queue, 3)
        result = queue.replay(Filter(), dry_run=True)
        assert (result.selected, result.published, result.dry_run) == (3, 0, True)
        assert queue.failed.count() == 3
        assert sent(app) == []

    def test_nothing_found(self, queue):
        """A filter that matches nothing replays nothing."""
        assert queue.replay(Filter(task=("none",))).selected == 0

    def test_why_not(self, queue):
        """What was not replayed is counted by reason."""
        held_by_another = letter("leased")
        queue.store.add_many([held_by_another, letter("gone"), letter("odd", unserialisable=True), letter("fine")])
        queue.store.claim(["leased"], "other", lease=2)
        queue.discard(["gone"])
        seen: list[Progress] = []

        def hold_on(progress: Progress) -> None:
            seen.append(progress)
            if progress.waiting is not None:  # the other one is alive, and claims it again
                queue.store.claim(["leased"], "other", lease=60)

        result = queue.replay(["leased", "gone", "odd", "fine", "none"], progress=hold_on)
        assert result.published == 1
        assert result.skipped == {
            "held by another replay": 1, "already discarded": 1, NOT_REPLAYABLE: 1, "no longer there": 1,
        }  # fmt: skip
        assert seen[-1] == Progress(total=5, published=1, skipped=4, failed=0, operation=result.operation)
        assert queue.get("odd").state is LetterState.FAILED

    def test_waits_for_a_lease(self, app, queue):
        """Letters that a killed replay holds are taken over as soon as its lease ends, and the wait is told."""
        ids = fill(queue, 3)
        queue.store.claim(ids[:2], "killed", lease=1.5)
        told: list[float] = []
        result = queue.replay(Filter(), progress=lambda p: p.waiting is not None and told.append(p.waiting))
        assert result.published == 3
        assert 0 < told[0] <= 1.5

    def test_too_often(self, queue):
        """A letter that always comes back is left alone after so many replays, unless it is forced."""
        queue.store.add(letter("a"))
        for _ in range(2):
            queue.replay(["a"])
            queue.store.add(redied(queue.get("a")))
        assert queue.replay(["a"], max_replays=2).skipped == {"replayed too often": 1}
        assert queue.replay(["a"], max_replays=2, force=True).published == 1

    def test_frozen_selection(self, queue):
        """A letter that dies again while the operation runs is not replayed by it once more."""
        fill(queue, 150)

        def die_at_once(progress: Progress) -> None:
            for one in queue.store.iterate(Filter(state=(LetterState.REPLAYED,))):
                queue.store.add(redied(one))

        assert queue.replay(Filter(), progress=die_at_once).published == 150
        assert queue.failed.count() == 150

    def test_broker_away(self, queue):
        """A broker that takes nothing ends the replay early; no letter is left claimed."""
        ids = fill(queue, 5)
        away = PublishFailed("away")
        away.__cause__ = ConnectionError("refused")
        queue.publisher = _Refusing(queue.publisher, {ids[2]: away})
        result = queue.replay(Filter())
        assert (result.published, list(result.failed)) == (2, [ids[2]])
        assert "away" in result.stopped
        assert (queue.failed.count(), queue.retry.count()) == (3, 2)

    def test_one_bad_letter(self, queue):
        """A letter that alone cannot be published is reported, and the others go on."""
        ids = fill(queue, 5)
        queue.publisher = _Refusing(queue.publisher, {ids[2]: Unroutable("no such exchange")})
        result = queue.replay(Filter())
        assert (result.published, result.failed) == (4, {ids[2]: "Unroutable: no such exchange"})
        assert result.stopped == ""
        assert queue.failed.count() == 1

    def test_interrupted(self, queue):
        """An operator who interrupts leaves no letter claimed."""
        ids = fill(queue, 5)
        queue.publisher = _Refusing(queue.publisher, {ids[2]: KeyboardInterrupt()})
        with pytest.raises(KeyboardInterrupt):
            queue.replay(Filter())
        assert (queue.failed.count(), queue.store.count(Filter(state=(LetterState.REPLAYED,)))) == (3, 2)

    def test_on_the_record(self, queue):
        """A replay is on the record: who asked for what, and how it went."""
        fill(queue, 3)
        result = queue.replay(Filter(task=("orders.*",)), by="ada", rate=1000)
        record = queue.operations.get(result.operation)
        assert queue.operations.latest() == [record]
        assert (record.kind, record.by, record.filter) == ("replay", "ada", "--task='orders.*'")
        assert (record.selected, record.done, record.state.value) == (3, 3, "done")

    @pytest.mark.parametrize("options", [{"rate": 0}, {"rate": -1}, {"rate": float("nan")}, {"limit": 0}])
    def test_nonsense(self, queue, options):
        """A rate or limit that makes no sense is refused by name."""
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            queue.replay(Filter(), **options)

    @pytest.mark.parametrize("state", [LetterState.RECOVERED, LetterState.DISCARDED])
    def test_finished_letters(self, app, queue, state):
        """Completed work is not run again: a filter that names a finished state is refused, and says which are not."""
        fill(queue, 1)
        with pytest.raises(ConfigurationError, match="state: expected failed, review, retry or replayed"):
            queue.replay(Filter(state=(LetterState.FAILED, state)))
        assert sent(app) == []


def spoil(queue: DeadLetterQueue, letter_id: str, message: bytes) -> None:
    """Put another message in place of a stored letter's."""
    queue.store.client.set(queue.store.keys.message(letter_id), message)


#: Parts of a stored letter that are not of their type.
ODD = {"raw": [1], "attempts": ["x"], "replay": [1], "batch": "z", "chords": [{"a": 1}], "error": None, "origin": 5}


class TestOdd:
    """Letters that something else has written stop nothing."""

    @pytest.mark.parametrize("regroup", [False, True])
    @pytest.mark.parametrize("together", [False, True])
    def test_replay(self, app, queue, together, regroup):
        """A replay sends the others, and tells of those that cannot be read."""
        ids = fill(queue, 11)
        spoil(queue, ids[5], b"nothing")
        spoil(queue, ids[6], packed({"about": [1]}, b""))
        spoil(queue, ids[7], packed({"about": ODD, "headers": [1], "properties": 1, "content_type": None}, b""))
        if not together:
            queue.publisher = _Refusing(queue.publisher, {})
        result = queue.replay(Filter(), regroup=regroup)
        assert (result.published, result.state) == (8, "done")
        assert result.failed.keys() == set(ids[5:7])
        assert all("what is stored of it cannot be read" in why for why in result.failed.values())
        assert dict(result.skipped) == {NOT_REPLAYABLE: 1}
        assert len(sent(app)) == 8
        assert {one.state for one in queue.list(Filter(ids=tuple(ids[5:8])))} == {LetterState.FAILED}

    @pytest.mark.parametrize("name", ODD)
    def test_shown(self, queue, name):
        """One odd part gets its default; lists, figures and what is shown go on."""
        ids = fill(queue, 3)
        key = queue.store.keys.message(ids[1])
        head, content = unpacked(queue.store.client.get(key))
        spoil(queue, ids[1], packed({**head, "about": {**head["about"], name: ODD[name]}}, content))
        assert [one.to_dict()["id"] for one in queue.list()] == ids[::-1]
        assert queue.stats().by_state["failed"] == queue.breakdown().by_state["failed"] == 3
        assert queue.replay(Filter()).published == 3

    def test_numbers(self, queue):
        """So do numbers and words of the hash."""
        ids = fill(queue, 2)
        odd = {"first_failure": "nan", "replays": "x", "edits": "1e999", "state": "newer", "runtime": "", "size": "?"}
        queue.store.client.hset(queue.store.keys.letter(ids[0]), mapping=odd)
        one = queue.list()[1]
        assert (one.first_failure, one.replays, one.edits, one.runtime) == (0, 0, 0, 0)
        assert "its state 'newer' is none" in one.to_dict()["detail"]
        assert queue.replay(Filter()).published == 1


class TestIntake:
    @pytest.mark.parametrize("number", [math.nan, math.inf, 10**400, True, "nan", "1e400", {"a": 1}])
    def test_no_numbers(self, app, other_redis_url, number):
        """A message whose numbers are none becomes a letter like any other, and holds up no other."""
        app.conf.recovery_redis_url = other_redis_url
        recovery = Recovery.of(app)
        odd = headers("odd", died_at=number, attempt=number, replays=number, held=number, secret_args=number)
        odd["recovery"] |= {
            "first_failure": number,
            "deferrals": number,
            "attempts": number,
            "replay": {"number": number},
        }
        odd["recovery"]["letter"]["error"] |= {"timestamp": number, "retry_after": number}
        with app.connection_for_write() as connection:
            producer = connection.Producer()
            for message in (headers("a"), odd, headers("b")):
                producer.publish(
                    body(7), headers=message, declare=[recovery.dead_letter_queue], routing_key="celery.dead_letters",
                    exchange=recovery.dead_letter_queue.exchange,
                )  # fmt: skip
        letters = recovery.dead_letters
        assert letters.drain() == 3
        assert {one.id for one in letters.list()} == {"a", "b", "odd"}
        one = letters.get("odd")
        assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["id"] == "odd"
        assert read_line(line_of(one, None)).id == "odd"
        assert letters.replay(Filter()).published == 3

    def test_refused(self, queue, monkeypatch):
        """A letter that the store refuses stays in its queue; the others are taken."""
        broken = letter("b").changed(died_at=math.nan)
        read = {b"a": letter("a"), b"b": broken, b"c": letter("c")}
        monkeypatch.setattr(ListedLetters, "_letter", lambda _, item: read[item])
        listed = object.__new__(ListedLetters)
        listed.store = queue.store
        assert listed._stored([("q", item) for item in read]) == [("q", b"a"), ("q", b"c")]
        assert {one.id for one in queue.list()} == {"a", "c"}


class _Refusing:
    """A publisher that raises for some letters."""

    def __init__(self, inner: Any, errors: Mapping[str, BaseException]) -> None:
        self.inner = inner
        self.errors = errors

    def publish(self, body: bytes, **options: Any) -> None:
        if options["headers"]["id"] in self.errors:
            raise self.errors[options["headers"]["id"]]
        self.inner.publish(body, **options)


class TestDiscard:
    def test_by_filter(self, queue):
        """Discarding by filter takes failed letters and those in review, notes who and why, and no others."""
        ids = fill(queue, 4)
        queue.send_to_review(ids[:1])
        queue.store.claim(ids[1:2], "op")
        result = queue.discard(Filter(), reason="test data", by="ada")
        assert (result.selected, result.done) == (3, 3)
        assert (queue.get(ids[0]).note, queue.get(ids[0]).by) == ("test data", "ada")
        assert queue.get(ids[1]).state is LetterState.RETRY

    def test_dry_run(self, queue):
        """A dry run counts and changes nothing."""
        fill(queue, 3)
        assert queue.discard(Filter(), dry_run=True).selected == 3
        assert queue.failed.count() == 3

    def test_restore(self, queue):
        """What was discarded, or set aside, can be put back."""
        ids = fill(queue, 2)
        queue.discard(ids[:1])
        queue.send_to_review(ids[1:])
        assert queue.restore(Filter()).done == 1
        assert queue.restore(ids).done == 1
        assert queue.failed.count() == 2

    def test_held_result(self, app, queue):
        """Whoever waits for a held task learns, when it is discarded, that it failed, and of what."""
        queue.store.add(letter("a", held=True, message="card expired"))
        assert queue.discard(["a"]).warnings == {}
        result = app.AsyncResult("a")
        assert result.state == "FAILURE"
        assert "requests.exceptions.ReadTimeout: card expired" in str(result.result)

    def test_held_chord(self, app, queue):
        """Discarding a held member fails its chord: the body's result is a failure, and nobody waits for ever."""
        held = held_member(app, "member-2", "group-1")
        queue.store.add(held)
        queue.discard(["member-2"])
        assert app.AsyncResult("body-1").state == "FAILURE"
        assert "ReadTimeout" in str(app.AsyncResult("body-1").result)

    def test_recovered_held_result(self, app, queue):
        """The result of a task that recovered is not made a failure afterwards."""
        queue.store.add(letter("a", held=True))
        queue.store.recovered("a", "")
        with pytest.raises(ConfigurationError, match="state"):
            queue.discard(Filter(state=(LetterState.RECOVERED,)))
        assert queue.discard(["a"]).done == 0
        assert app.AsyncResult("a").state == "PENDING"

    def test_unreadable_body(self, queue):
        """Of a held letter whose body may not be read, only the result is failed, and that is said."""
        queue.store.add(letter("a", held=True, body=b"\x80\x04", content_type="application/x-python-serialize"))
        result = queue.discard(["a"])
        assert result.done == 1
        assert sum(result.warnings.values()) == 1


class TestChordWarnings:
    def test_failed_chord(self, queue):
        """Replaying a member that failed inside a chord is possible, and warned of: the body will not run."""
        queue.store.add_many([letter("a", chords=["g"], held=False), letter("b")])
        assert sum(queue.replay(Filter()).warnings.values()) == 1

    def test_held_chord(self, app, queue):
        """A held member is warned of only when the backend has forgotten its chord."""
        queue.store.add(held_member(app, "a", "here"))
        queue.store.add(letter("b", chords=["gone"], held=True))
        [(warning, count)] = queue.replay(Filter()).warnings.items()
        assert count == 1
        assert "gone" in warning


def held_member(app: Celery, task_id: str, group: str) -> Letter:
    """The second of two chord members, held; the first has succeeded."""
    chord_body = Signature("orders.total", app=app, task_id="body-1", options={"task_id": "body-1"})
    chord_body["chord_size"] = 2
    app.backend.set_chord_size(group, 2)
    first = Context(id="member-1", group=group, group_index=0, chord=dict(chord_body), delivery_info={})
    app.backend.mark_as_done("member-1", 1, request=first)
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": dict(chord_body)}
    raw = app.backend.encode([[2], {}, embed])
    where = {"group": group, "group_index": 1}
    return letter(task_id, held=True, chords=[group], body=raw, extra=where)
