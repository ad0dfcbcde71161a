"""The dead-letter store against a real Redis."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal

import pytest
import redis

from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.state import FINISHED, OPEN, TRANSITIONS, LetterState
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.exceptions import StoreUnavailable, UnserialisableLetter
from celery_recovery.redis import Keys, connect
from tests.letters import DIED_AT, body, letter, redied
from tests.lost_replies import connect_losing, lost_reply

FAILED, REVIEW, RETRY, REPLAYED, RECOVERED, DISCARDED = LetterState


@pytest.fixture
def store(redis_url: str) -> Iterator[DeadLetterStore]:
    client = connect(redis_url)
    yield DeadLetterStore(client, Keys("shop"))
    client.close()


def state_of(store: DeadLetterStore, task_id: str) -> LetterState | None:
    found = store.get(task_id)
    return None if found is None else found.state


def claimed(store: DeadLetterStore, task_id: str, operation: str = "op", **options: object) -> Letter:
    [claim] = store.claim([task_id], operation, **options)  # type: ignore[arg-type]
    assert claim.letter is not None, claim
    return claim.letter


def replayed(store: DeadLetterStore, task_id: str, copy: str = "copy", operation: str = "op") -> Letter:
    """Claim, publish and start a letter, as a replay and a worker would."""
    found = claimed(store, task_id, operation)
    store.published([task_id], operation)
    assert store.started(task_id, found.token, copy) == "run"
    return found


class TestAdd:
    def test_read_back(self, store):
        """A letter comes back as it went in, raw body and odd header values included."""
        odd = {"when": datetime(2026, 1, 2, tzinfo=timezone.utc), "price": Decimal("1.50"), "raw": b"\xff\x00"}
        one = letter("a", body=b"\x80\x04\x95raw", content_type="application/x-python-serialize", extra=odd)
        assert store.add(one) == "new"
        back = store.get("a")
        assert back is not None
        assert back.stored_at == pytest.approx(time.time(), abs=5)
        assert replace(back, stored_at=0, changed_at=0) == one

    def test_unknown_values(self, store):
        """A header value that nothing can write down is kept as its repr, and the rest of the letter as it is."""
        store.add(replace(letter("a"), headers={"id": "a", "task": "t", "odd": object(), "fine": [1]}))
        back = store.get("a")
        assert back is not None
        assert back.headers["fine"] == [1]
        assert back.headers["odd"].startswith("<object object")

    @pytest.mark.parametrize(
        ("field", "value"),
        [("died_at", math.nan), ("died_at", math.inf), ("first_failure", -math.inf), ("replays", 1.5), ("replays", -1)],
    )
    def test_refused(self, store, field, value):
        """What no index can take is refused before the first write; the others of the round are stored, and told."""
        news: list[str] = []
        store.on_news = lambda told: news.extend(one.id for one, _ in told)
        with pytest.raises(UnserialisableLetter, match=f"'b' cannot be stored: {field} "):
            store.add_many([letter("a"), replace(letter("b"), **{field: value}), letter("c", fingerprint="1:c")])
        assert [one.id for one in store.find().letters] == ["c", "a"]
        assert news == ["a", "c"]
        assert not [key for key in store.client.scan_iter() if b":b" in key]
        assert store.add(letter("b")) == "new"

    def test_half_a_letter(self, store):
        """One that was left without indexes, by whatever wrote it, is none; a death of that id makes it whole."""
        store.add(letter("a"))
        for key in (store.keys.letter, store.keys.message):
            store.client.copy(key("a"), key("half"))
        store.client.hset(store.keys.letter("half"), "died_at", "nan")
        assert store.get("half") is None
        assert [claim.status for claim in store.claim(["a", "half"], "op")] == ["claimed", "unknown"]
        assert store.discard(["half"]) == []
        assert store.add(letter("half")) == "new"
        assert [one.id for one in store.find().letters] == ["half", "a"]
        assert claimed(store, "half").state is RETRY

    def test_without_its_message(self, store):
        """One whose message is gone cannot be claimed, and keeps no other from it."""
        store.add_many([letter("a"), letter("b")])
        store.client.delete(store.keys.message("a"))
        assert [claim.status for claim in store.claim(["a", "b"], "op")] == ["unknown", "claimed"]

    def test_same_death_twice(self, store):
        """The same death delivered again changes nothing."""
        one = letter("a")
        assert [store.add(one), store.add(one)] == ["new", "duplicate"]
        assert store.stats().by_task == {"orders.charge": 1}

    def test_many(self, store):
        """Letters can be added in one round trip, each with its own answer."""
        assert store.add_many([letter("a"), letter("b"), letter("a")]) == ["new", "new", "duplicate"]

    def test_again(self, store):
        """A replay that dies is news: the letter is failed again, of the new error, since its old beginning."""
        store.add(letter("a"))
        again = redied(replayed(store, "a"), copy="copy", error_type="validation", fingerprint="1:ffff", message="bad")
        assert store.add(again) == "again"
        back = store.get("a")
        assert back is not None
        assert (back.state, back.replays, back.outcome) == (FAILED, 1, "died again")
        assert back.error.error_type.value == "validation"
        assert back.first_failure == DIED_AT - 9
        assert store.count(Filter(fingerprint=("1:ffff",))) == 1
        assert store.count(Filter(fingerprint=("1:00112233aabbccdd",))) == 0

    def test_again_before_it_was_marked(self, store):
        """A replay may die before the operator has marked it as published; the late mark changes nothing then."""
        store.add(letter("a"))
        assert store.add(redied(claimed(store, "a"))) == "again"
        assert store.published(["a"], "op") == 0
        assert state_of(store, "a") is FAILED

    def test_again_in_review(self, store):
        """A death that asks for a person goes to review, whatever the letter was before."""
        store.add(letter("a"))
        assert store.add(redied(replayed(store, "a"), action="manual_review")) == "again"
        assert state_of(store, "a") is REVIEW

    @pytest.mark.parametrize("state", [RETRY, REPLAYED, RECOVERED, DISCARDED])
    def test_late_duplicate(self, store, state):
        """An old death that is delivered late never overwrites what became of the letter since."""
        one = letter("a")
        store.add(one)
        if state in (RETRY, REPLAYED, RECOVERED):
            claimed(store, "a")
        if state in (REPLAYED, RECOVERED):
            store.published(["a"], "op")
        if state is RECOVERED:
            store.recovered("a", "copy")
        if state is DISCARDED:
            store.discard(["a"])
        assert store.add(one) == "duplicate"
        assert store.add(letter("a", died_at=DIED_AT + 5)) == "duplicate"
        assert state_of(store, "a") is state

    def test_late_duplicate_of_a_replay(self, store):
        """The death of the first replay, delivered again during the second one, is old news."""
        store.add(letter("a"))
        first = redied(replayed(store, "a"))
        store.add(first)
        replayed(store, "a", "other", operation="next")
        assert store.add(first) == "duplicate"
        assert state_of(store, "a") is REPLAYED

    def test_sent_afresh(self, store):
        """A task sent anew under the id of a finished letter, and dead, is a new death: it must not vanish."""
        store.add(letter("a"))
        store.recovered("a", "copy")
        assert store.add(letter("a", died_at=time.time() + 1)) == "again"
        assert state_of(store, "a") is FAILED

    def test_store_lost_its_claim(self, store):
        """The death of a replay that the store knows nothing of any more is taken, with its number."""
        store.add(letter("a"))
        lost = redied(replayed(store, "a"))
        store.client.flushdb()
        assert store.add(lost) == "new"
        back = store.get("a")
        assert back is not None
        assert back.replays == 1


class TestClaim:
    def test_lease(self, store):
        """While a lease runs nobody else gets the letter, and is told how long that will be."""
        store.add(letter("a"))
        claimed(store, "a", "first", lease=15)
        [refused] = store.claim(["a"], "second")
        assert refused.status == "leased"
        assert 14 < float(refused.detail) <= 15

    def test_take_over(self, store):
        """Once the lease is over another operation gets it, under the same token: it is the same life."""
        store.add(letter("a"))
        first = claimed(store, "a", "first", lease=0)
        second = claimed(store, "a", "second")
        assert first.token == second.token
        assert second.operation == "second"

    def test_own_claim(self, store):
        """An operation may claim again what it holds: the answer to its first call may have been lost."""
        store.add(letter("a"))
        assert claimed(store, "a", "op").token == claimed(store, "a", "op").token

    def test_next_life(self, store):
        """After a death the next replay has another token, so that no copy of the last one can pass for it."""
        store.add(letter("a"))
        first = replayed(store, "a")
        store.add(redied(first))
        assert claimed(store, "a", "next").token != first.token

    @pytest.mark.parametrize("end", ["on its way", "died", "recovered"])
    def test_once_per_operation(self, store, end):
        """What an operation has replayed it does not claim again, however that ended: a runner may be killed."""
        store.add(letter("a"))
        found = replayed(store, "a")
        if end == "died":
            store.add(redied(found))
        elif end == "recovered":
            store.recovered("a", "copy")
        [again] = store.claim(["a"], "op", states=LetterState)
        assert again.status == "ours"

    def test_unclaimed_keeps_its_token(self, store):
        """A claim given back and taken again is the same life: the broker may have had the message after all."""
        store.add(letter("a"))
        first = claimed(store, "a")
        assert store.unclaim(["a"], "op") == 1
        assert claimed(store, "a").token == first.token

    def test_states(self, store):
        """Only letters in the states asked for are claimed; the others say where they are."""
        for task_id in ("failed", "review", "discarded"):
            store.add(letter(task_id))
        store.review(["review"])
        store.discard(["discarded"])
        answers = store.claim(["failed", "review", "discarded", "none"], "op", states=(FAILED,))
        assert [(claim.status, claim.detail) for claim in answers] == [
            ("claimed", ""), ("passed", "review"), ("passed", "discarded"), ("unknown", ""),
        ]  # fmt: skip

    def test_replayed_on_request(self, store):
        """A replayed letter is claimed when asked for: by its own token if no worker saw it, else by a new one."""
        store.add_many([letter("unseen"), letter("begun")])
        unseen = claimed(store, "unseen")
        store.published(["unseen"], "op")
        begun = replayed(store, "begun")
        assert claimed(store, "unseen", "next", states=(REPLAYED,)).token == unseen.token
        assert claimed(store, "begun", "next", states=(REPLAYED,)).token != begun.token

    def test_often_enough(self, store):
        """A letter with so many replays behind it is refused."""
        store.add(letter("a"))
        store.add(redied(replayed(store, "a")))
        [refused] = store.claim(["a"], "next", max_replays=1)
        assert (refused.status, refused.detail) == ("exhausted", "1")
        assert state_of(store, "a") is FAILED

    def test_unclaim_to_review(self, store):
        """A claim given back goes where it came from."""
        store.add(letter("a"))
        store.review(["a"])
        claimed(store, "a")
        store.unclaim(["a"], "op")
        assert state_of(store, "a") is REVIEW

    def test_others_claims(self, store):
        """Only the operation that holds a letter can mark it or give it back."""
        store.add(letter("a"))
        claimed(store, "a", "first")
        assert (store.published(["a"], "second"), store.unclaim(["a"], "second")) == (0, 0)
        assert state_of(store, "a") is RETRY

    def test_many_at_once(self, store, redis_url):
        """Of many that claim the same letters at the same time, each letter goes to one."""
        ids = [f"task-{n}" for n in range(300)]
        store.add_many([letter(task_id) for task_id in ids])
        got: list[list[str]] = []

        def grab(name: str) -> None:
            own = DeadLetterStore(connect(redis_url), Keys("shop"))
            shuffled = random.sample(ids, len(ids))
            got.append([claim.id for claim in own.claim(shuffled, name) if claim.letter])

        threads = [threading.Thread(target=grab, args=(f"op-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(task_id for mine in got for task_id in mine) == Counter(ids)


class TestStart:
    def test_first_copy_wins(self, store):
        """The first copy that starts runs, every other is a twin, and the first may come again."""
        store.add(letter("a"))
        token = claimed(store, "a").token
        assert [store.started("a", token, copy) for copy in ("one", "two", "one")] == ["run", "twin", "run"]
        assert state_of(store, "a") is REPLAYED

    def test_published_twice(self, store):
        """A copy that comes again as fresh as the first time was published twice, when a reply got lost: a twin."""
        store.add(letter("a"))
        token = claimed(store, "a").token
        assert [store.started("a", token, "one", fresh=fresh) for fresh in (True, True, False)] == [
            "run",
            "twin",
            "run",
        ]

    def test_the_answer_is_lost(self, redis_url):
        """A copy that was admitted, and whose admission was lost with a connection, is not its own twin."""
        with connect_losing(redis_url) as client:
            store = DeadLetterStore(client, Keys("shop"))
            tokens = {}
            for name in ("warm", "a"):
                store.add(letter(name))
                tokens[name] = claimed(store, name).token
            store.started("warm", tokens["warm"], "one", fresh=True)
            with lost_reply():
                assert store.started("a", tokens["a"], "one", fresh=True) == "run"
            assert store.started("a", tokens["a"], "one", fresh=True) == "twin"

    def test_faster_than_the_operator(self, store):
        """A copy that starts before it was marked as published marks itself."""
        store.add(letter("a"))
        token = claimed(store, "a", lease=0).token
        store.started("a", token, "one", "w1")
        assert [claim.status for claim in store.claim(["a"], "other")] == ["passed"]
        back = store.get("a")
        assert back is not None
        assert (back.replays, back.replayed_by) == (1, "w1")

    def test_after_its_death(self, store):
        """A copy whose death is stored already is not run again, nor any other copy of that life."""
        store.add(letter("a"))
        found = replayed(store, "a", "one")
        store.add(redied(found, copy="one"))
        assert [store.started("a", found.token, copy) for copy in ("one", "two")] == ["twin", "twin"]
        claimed(store, "a", "next")
        assert store.started("a", found.token, "two") == "twin"

    def test_after_recovery(self, store):
        """Another copy of a recovered letter is a twin: the work is done."""
        store.add(letter("a"))
        found = replayed(store, "a", "one")
        assert store.recovered("a", "one", 0.25, "w1")
        assert store.started("a", found.token, "two") == "twin"

    def test_discarded(self, store):
        """A letter discarded while its replay was on the way does not run."""
        store.add(letter("a"))
        token = claimed(store, "a").token
        store.discard(["a"])
        assert store.started("a", token, "one") == "gone"

    def test_unclaimed(self, store):
        """A copy of a claim that was given back runs: it was published after all. The next replay's is its twin."""
        store.add(letter("a"))
        token = claimed(store, "a").token
        store.unclaim(["a"], "op")
        assert store.started("a", token, "one") == "run"
        assert state_of(store, "a") is REPLAYED

    def test_redis_forgot(self, store):
        """Without the letter, or without the claim, the task runs: a loss of data in Redis must not lose tasks."""
        store.add(letter("a"))
        found = claimed(store, "a")
        store.client.flushdb()
        assert store.started("a", found.token, "one") == "run"
        store.add(letter("a"))
        assert [store.started("a", found.token, copy) for copy in ("one", "two")] == ["run", "twin"]


class TestEnds:
    def test_recovered(self, store):
        """A success is written on the letter, once."""
        store.add(letter("a"))
        replayed(store, "a", "one")
        assert [store.recovered("a", "one", 0.25, "w1"), store.recovered("a", "one")] == [True, False]
        back = store.get("a")
        assert back is not None
        assert (back.state, back.outcome, back.runtime, back.replayed_by) == (RECOVERED, "recovered", 0.25, "w1")

    def test_recovered_unknown(self, store):
        """The success of an unknown letter is no error, and makes none."""
        assert not store.recovered("a", "one")
        assert store.get("a") is None

    @pytest.mark.parametrize("state", [FAILED, DISCARDED])
    def test_settle(self, store, state):
        """Any other end of a replay brings the letter where the worker says, with its word."""
        store.add(letter("a"))
        replayed(store, "a", "one")
        assert not store.settle("a", "two", state, "ignore")
        assert store.settle("a", "one", state, "ignore")
        back = store.get("a")
        assert back is not None
        assert (back.state, back.outcome) == (state, "ignore")

    def test_people(self, store):
        """What people do is noted with who and why; what is not in the state it takes is left alone."""
        store.add_many([letter("a"), letter("b")])
        assert store.review(["a", "none"], "look at it", "ada") == ["a"]
        back = store.get("a")
        assert back is not None
        assert (back.by, back.note) == ("ada", "look at it")
        assert store.restore(["a", "b"]) == ["a"]
        assert store.discard(["a", "b"]) == ["a", "b"]
        assert store.discard(["a"]) == []
        assert store.restore(["a"]) == ["a"]


class TestSearch:
    def test_pages(self, store):
        """Pages follow one another without gap or repeat, newest first, also among equal times."""
        letters = [letter(f"task-{n:02}", died_at=DIED_AT + n // 7) for n in range(40)]
        store.add_many(letters)
        seen, cursor = [], None
        while True:
            page = store.find(Filter(), cursor=cursor, limit=6)
            seen += [one.id for one in page.letters]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == [one.id for one in sorted(letters, key=lambda one: (one.died_at, one.id), reverse=True)]

    def test_more_than_one_look(self, store):
        """Walks longer than one call of the script go on where it stopped, both ways, also among equal times."""
        ids = [f"task-{n:05}" for n in range(4500)]
        store.add_many([letter(task_id, reason="rare" if n % 900 == 0 else "common") for n, task_id in enumerate(ids)])
        assert list(store.iterate_ids(Filter(), oldest_first=True)) == ids
        assert list(store.iterate_ids(Filter(reason=("rare",)))) == ids[::900][::-1]

    def test_agrees_with_the_filter(self, store):
        """Whatever is asked, Redis finds exactly the letters that the filter itself agrees with."""
        dice = random.Random(7)
        letters = []
        for n in range(150):
            one = letter(
                f"task-{n}",
                dice.choice(["orders.charge", "orders.ship", "mail.send"]),
                error_type=dice.choice(["network", "validation"]),
                queue=dice.choice(["celery", "slow"]),
                reason=dice.choice(["exhausted", "permanent"]),
                fingerprint=dice.choice(["1:aa", "1:ab", "1:bb"]),
                exception=dice.choice(["shop.Late", "shop.Lost"]),
                held=dice.random() < 0.5,
                died_at=DIED_AT + dice.randrange(50),
                body=body(n % 5, customer=n % 3),
            )
            letters.append(one)
        store.add_many(letters)
        store.review([f"task-{n}" for n in range(0, 150, 4)])
        store.discard([f"task-{n}" for n in range(0, 150, 5)])
        stored = [one for one in store.get_many([one.id for one in letters]) if one]
        assert len(stored) == 150
        for _ in range(120):
            where = _any_filter(dice)
            expected = [one.id for one in sorted(stored, key=lambda one: (one.died_at, one.id)) if where.matches(one)]
            assert [one.id for one in store.iterate(where)] == expected[::-1], where
            assert list(store.iterate_ids(where, oldest_first=True)) == expected, where
            assert store.count(where) == len(expected), where

    def test_by_id(self, store):
        """Ids are answered in the order asked, unknown ones left out."""
        store.add_many([letter("a"), letter("b")])
        assert [one.id for one in store.find(Filter(ids=("b", "none", "a"))).letters] == ["b", "a"]

    def test_changes_meanwhile(self, store):
        """A walk goes on when what it has passed changes its state under it."""
        store.add_many([letter(f"task-{n:03}", died_at=DIED_AT + n) for n in range(300)])
        seen = []
        for one in store.iterate(Filter(state=(FAILED,)), oldest_first=True):
            store.discard([one.id])
            seen.append(one.id)
        assert seen == [f"task-{n:03}" for n in range(300)]


def _any_filter(dice: random.Random) -> Filter:
    """A random filter, mostly of one or two conditions."""
    choices = {
        "task": [("orders.*",), ("mail.send",), ("none",), ("orders.charge", "mail.send")],
        "error_type": [("network",), ("validation", "network")],
        "queue": [("slow",), ("s*", "celery")],
        "fingerprint": [("1:a*",), ("1:bb",)],
        "state": [(FAILED,), (REVIEW, DISCARDED)],
        "reason": [("permanent",)],
        "exception": [("shop.Late",), ("*Lost",)],
        "held": [True, False],
        "since": [DIED_AT + 20],
        "until": [DIED_AT + 30],
        "args": [{"customer": "1"}, {"0": "4"}],
        "text": ["PAYMENT", "nowhere"],
    }
    names = dice.sample(sorted(choices), dice.choice([0, 1, 1, 2, 2, 3]))
    return Filter(**{name: dice.choice(choices[name]) for name in names})  # type: ignore[arg-type]


class TestFigures:
    def test_stats(self, store):
        """Figures count what is open by task and type, everything by state, and what has happened."""
        store.add_many([letter("a"), letter("b", "mail.send", error_type="parsing", died_at=DIED_AT + 1), letter("c")])
        store.add(letter("c"))
        store.recovered("c", "copy")
        stats = store.stats()
        assert stats.by_state == {
            "failed": 2, "review": 0, "retry": 0, "replayed": 0, "recovered": 1, "discarded": 0,
        }  # fmt: skip
        assert stats.by_task == {"mail.send": 1, "orders.charge": 1}
        assert stats.by_error_type == {"network": 1, "parsing": 1}
        assert (stats.open, stats.oldest, stats.newest) == (2, DIED_AT, DIED_AT + 1)
        size = len(body(7, currency="EUR"))
        assert stats.totals == {"added": 3, "bytes": 3 * size, "duplicate": 1, "recovered": 1}

    def test_groups(self, store):
        """The largest groups of open letters come first, and name their newest letter."""
        store.add_many([letter("a"), letter("b", died_at=DIED_AT + 1), letter("c", fingerprint="1:other")])
        groups = store.groups()
        assert [(group.count, group.newest_id) for group in groups] == [(2, "b"), (1, "c")]

    def test_nothing_is_left(self, store):
        """When every letter is finished and old, no key is left behind but the records of groups, for a while."""
        store.add_many([letter(f"task-{n}", f"task.{n}", fingerprint=f"1:{n}") for n in range(50)])
        replayed(store, "task-1")
        store.recovered("task-1", "copy")
        store.discard([f"task-{n}" for n in range(50)])
        assert store.sweep() == 0
        store.max_age = 0
        while store.sweep():
            pass
        left = [key for key in store.client.keys("*") if b":group" not in key]
        assert left == []
        assert all(0 < store.client.ttl(key) <= 90 * 86400 for key in store.client.keys("*:group-parts:*"))
        assert all(0 < store.client.ttl(key) <= 90 * 86400 for key in store.client.keys("*:group:*"))

    def test_swept_in_passing(self, store):
        """Old finished letters go by themselves as new ones come; open ones stay, whatever their age."""
        store.add_many([letter("done"), letter("open")])
        store.discard(["done"])
        store.max_age = 0
        store.add(letter("new"))
        assert [state_of(store, task_id) for task_id in ("done", "open", "new")] == [None, FAILED, FAILED]

    def test_kept_up_to_a_number(self, store):
        """Beyond the number that is kept, the letters that were finished first go, and are counted; open ones stay."""
        store.add_many([letter(f"task-{n}") for n in range(10)])
        for n in (3, 1, 2, 0, 4):
            store.discard([f"task-{n}"])
        store.max_count = 2
        assert store.sweep() == 3
        assert [store.get(f"task-{n}") is None for n in range(5)] == [False, True, True, True, False]
        assert (store.stats().open, store.stats().totals["expired"], store.sweep()) == (5, 3, 0)

    def test_page_in_time(self, store):
        """A page that would take too long has what was found by then; its cursor goes on, and nothing is left out."""
        store.add_many(
            [
                letter(f"t{n:04}", died_at=DIED_AT + n, reason="quarantined" if n % 997 == 5 else "exhausted")
                for n in range(4500)
            ]
        )
        where = Filter(reason=("quarantined",))
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page = store.find(where, cursor=cursor, limit=50, seconds=0.0)
            seen += [one.id for one in page.letters]
            assert page.is_full == (page.cursor is None)
            cursor, pages = page.cursor, pages + 1
        assert seen == [f"t{n:04}" for n in (3993, 2996, 1999, 1002, 5)]
        assert pages >= 3

    def test_page_in_time_along_several(self, store):
        """Several indexes are walked together; pages of any length have each letter once, in order."""
        store.add_many(
            [letter(f"t{n:04}", f"task.{n % 3}", died_at=DIED_AT + n // 7, error_type="parsing" if n % 5 else "network")
             for n in range(600)]
        )  # fmt: skip
        where = Filter(task=("task.0", "task.1"), error_type=("parsing",))
        expected = [one.id for one in store.iterate(where)]
        for seconds in (0.0, None):
            seen, cursor = [], None
            while True:
                page = store.find(where, cursor=cursor, limit=7, seconds=seconds)
                seen += [one.id for one in page.letters]
                cursor = page.cursor
                if cursor is None:
                    break
            assert seen == expected

    def test_breakdown(self, store):
        """What letters are, of a filter or of all; finished ones are counted by state only."""
        store.add_many([letter("a"), letter("b", "mail.send", died_at=DIED_AT + 1, held=True), letter("c")])
        store.discard(["c"])
        told = store.breakdown()
        assert (dict(told.by_state), told.open, told.held) == ({"failed": 2, "discarded": 1}, 2, 1)
        assert (dict(told.by_task), told.oldest, told.newest) == (
            {"orders.charge": 1, "mail.send": 1},
            DIED_AT,
            DIED_AT + 1,
        )
        assert store.breakdown(Filter(task=("nobody",))).count == 0

    def test_kept_for_ever(self, store):
        """Without a greatest age nothing is removed."""
        store.max_age = None
        store.add(letter("a"))
        store.discard(["a"])
        assert store.sweep() == 0
        assert state_of(store, "a") is DISCARDED


def test_transitions(store):
    """Driven at random, letters change state as the table says and in no other way; the books agree at the end."""
    dice = random.Random(11)
    seen: set[tuple[LetterState | None, LetterState | None]] = set()
    store.max_age = None
    known: dict[str, list[Letter]] = {task_id: [] for task_id in ("a", "b", "c")}
    for _ in range(6000):
        task_id = dice.choice(list(known))
        before = state_of(store, task_id)
        action = dice.choice(list(_ACTIONS))
        _ACTIONS[action](store, task_id, known[task_id], dice)
        after = state_of(store, task_id)
        if before is not after or action in ("add", "claim", "start"):
            seen.add((before, after))
    assert {pair for pair in seen if pair[0] is not pair[1]} == {
        (before, after) for before, afters in TRANSITIONS.items() for after in afters if before is not after
    }
    _check_books(store)


def _add(store, task_id, claims, dice):
    if claims and dice.random() < 0.7:
        store.add(redied(dice.choice(claims[-3:]), action=dice.choice(["dead_letter", "manual_review"])))
    else:
        died_at = dice.choice([DIED_AT, time.time() + 1])
        store.add(letter(task_id, died_at=died_at, action=dice.choice(["dead_letter", "manual_review"])))


def _claim_any(store, task_id, claims, dice):
    [claim] = store.claim([task_id], dice.choice(["x", "y"]), lease=dice.choice([0, 60]), states=OPEN)
    if claim.letter:
        claims.append(claim.letter)


def _start(store, task_id, claims, dice):
    if claims:
        store.started(
            task_id, dice.choice([dice.choice(claims).token, f"{task_id}:{1000 + len(claims)}"]), dice.choice("pq")
        )


_ACTIONS = {
    "add": _add,
    "claim": _claim_any,
    "start": _start,
    "publish": lambda store, task_id, claims, dice: store.published([task_id], dice.choice("xy")),
    "unclaim": lambda store, task_id, claims, dice: store.unclaim([task_id], dice.choice("xy")),
    "recover": lambda store, task_id, claims, dice: store.recovered(task_id, "p"),
    "settle": lambda store, task_id, claims, dice: store.settle(
        task_id, "p", dice.choice([FAILED, REVIEW, DISCARDED]), "so"
    ),
    "discard": lambda store, task_id, claims, dice: dice.random() < 0.3 and store.discard([task_id]),
    "review": lambda store, task_id, claims, dice: store.review([task_id]),
    "restore": lambda store, task_id, claims, dice: store.restore([task_id]),
    "expire": lambda store, task_id, claims, dice: dice.random() < 0.1 and _expire(store),
}


def _expire(store: DeadLetterStore) -> None:
    store.max_age = 0
    store.sweep()
    store.max_age = None


def _check_books(store: DeadLetterStore) -> None:
    """Indexes and counters say what the letters say."""
    letters = [one for one in store.get_many(["a", "b", "c"]) if one]
    stats = store.stats()
    assert {state: n for state, n in stats.by_state.items() if n} == Counter(one.state.value for one in letters)
    assert stats.by_task == Counter(one.task for one in letters if one.state not in FINISHED)
    assert store.count() == len(letters)
    assert store.client.zcard(store.keys.finished) == sum(one.state in FINISHED for one in letters)


class TestRedisAway:
    def test_said_clearly(self, own_redis):
        """Each call says where the store was looked for, without the password, and soon."""
        client = connect(own_redis.url().replace("redis://", "redis://:hush@"))
        store = DeadLetterStore(client)
        own_redis.kill()
        begun = time.monotonic()
        for call in (
            store.ping,
            store.stats,
            lambda: store.add(letter("a")),
            store.find,
            lambda: store.get("a"),
        ):
            with pytest.raises(StoreUnavailable, match=rf"127.0.0.1:{own_redis.port}") as raised:
                call()
            assert "hush" not in str(raised.value)
        assert time.monotonic() - begun < 5

    def test_scripts_forgotten(self, store):
        """A Redis that forgot the scripts, as after a restart, is given them again, in pipelines too."""
        store.add(letter("a"))
        store.client.script_flush()
        assert store.add(letter("b")) == "new"
        store.client.script_flush()
        assert store.add_many([letter("c"), letter("d")]) == ["new", "new"]

    def test_back_again(self, own_redis):
        """A store whose Redis was killed and came back has its letters, and goes on without a new client."""
        store = DeadLetterStore(connect(own_redis.url()))
        store.add(letter("a"))
        own_redis.kill()
        own_redis.start()
        assert state_of(store, "a") is FAILED


def test_wrong_type(store):
    """A key of another kind where ours should be is an error of the store, said as such."""
    store.client.set(store.keys.all, "not ours")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        store.add(letter("a"))


def test_client_is_binary(redis_url):
    """The client keeps bytes, whatever the URL says of it."""
    client = connect(redis_url)
    client.set("x", b"\xff")
    assert client.get("x") == b"\xff"
    assert isinstance(client, redis.Redis)
