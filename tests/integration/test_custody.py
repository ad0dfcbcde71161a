"""Who may run a message, and who may not: each rule of the record that is kept of a life."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from celery_recovery import custody as custody_module
from celery_recovery.custody import Custody
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.identity import Identity
from celery_recovery.passage import Passage
from celery_recovery.redis.client import connect
from celery_recovery.redis.keys import Keys
from tests.integration.jobs_client import eventually
from tests.lost_replies import connect_losing, lost_reply
from tests.services import RedisServer

FIRST = Passage(life="l")


@pytest.fixture
def custody(redis_client: redis.Redis) -> Custody:
    return Custody(redis_client, Keys(), ttl=60, max_crashes=3)


def worker(custody: Custody, boot: str, *running: str, alive: bool = True) -> str:
    """A worker that beats, or one that never did."""
    if alive:
        custody.beat(Identity(boot=boot, pid=os.getpid(), started=0, place=""), running)
    return boot


class TestStart:
    def test_unknown(self, custody):
        """Nothing is known of a first message: it runs."""
        assert custody.start(FIRST, worker(custody, "a"), redelivered=True).verdict == "new"

    def test_announced_successor(self, custody):
        """The copy that was announced runs; the message before it does not come again."""
        boot = worker(custody, "a")
        following = FIRST.next()
        assert custody.leave(FIRST, following.copy, boot) == (True, None)
        assert custody.start(following, boot).verdict == "run"
        assert custody.start(FIRST, boot, redelivered=True).verdict == "twin"

    def test_released_from_parking_while_the_original_runs(self, custody):
        """Its worker was killed between parking and acknowledging it, and both come at once: the second waits."""
        boot = worker(custody, "a", "l")
        assert custody.start(FIRST, boot, redelivered=True).verdict == "new"
        released = FIRST.next()
        assert custody.start(released, worker(custody, "b")).verdict == "busy"
        custody.end(FIRST, "done")
        assert custody.start(released, "b", redelivered=True).verdict == "twin"

    def test_released_from_parking_before_the_original_comes(self, custody):
        """The other way round."""
        assert custody.start(FIRST.next(), worker(custody, "b")).verdict == "new"
        assert custody.start(FIRST, worker(custody, "a"), redelivered=True).verdict == "twin"

    def test_published_twice(self, custody):
        """The same copy a second time, not redelivered, while the first runs: it was published twice."""
        boot = worker(custody, "a")
        following = FIRST.next()
        custody.leave(FIRST, following.copy, boot)
        custody.start(following, boot)
        assert custody.start(following, worker(custody, "b")).verdict == "twin"

    def test_killed_between_announcement_and_publication(self, custody):
        """The message comes again and runs; the copy it had announced, should it exist, is dropped."""
        boot = worker(custody, "dead", alive=False)
        custody.start(FIRST, boot, redelivered=True)
        following = FIRST.next()
        custody.leave(FIRST, following.copy, boot)
        other = worker(custody, "b")
        assert custody.start(FIRST, other, redelivered=True).verdict == "run"
        assert custody.start(following, other).verdict == "twin"
        again = FIRST.next()
        assert custody.leave(FIRST, again.copy, other)[0]
        assert custody.start(again, other).verdict == "run"

    def test_unannounced(self, custody):
        """Redis was away when it was published: it runs, whatever is noted of the step before."""
        boot = worker(custody, "a")
        custody.start(FIRST, boot, redelivered=True)
        assert custody.start(replace(FIRST.next(), copy=""), boot).verdict == "run"

    def test_done(self, custody):
        """A life that has ended does not begin again."""
        boot = worker(custody, "a")
        custody.start(FIRST, boot, redelivered=True)
        custody.end(FIRST, "done", {"how": "letter"})
        assert custody.start(FIRST, boot, redelivered=True).ended == {"how": "letter"}
        assert custody.start(FIRST.next(), boot).verdict == "twin"

    def test_left(self, custody):
        """What follows is published: this step does not run again, the next does."""
        boot = worker(custody, "a")
        following = FIRST.next()
        custody.leave(FIRST, following.copy, boot)
        custody.end(FIRST, "left")
        assert custody.start(FIRST, boot, redelivered=True).verdict == "twin"
        assert custody.start(following, boot).verdict == "run"

    def test_failover_that_forgot_the_announcement(self, custody):
        """Redis knows less than it was told: the copy runs all the same, once the step before is not said to run."""
        custody.start(FIRST, worker(custody, "a", "l"), redelivered=True)
        following = FIRST.next()
        assert custody.start(following, worker(custody, "b")).verdict == "busy"
        custody.client.hset(custody.keys.attempt("l"), "at", 1)  # longer ago than a worker may be silent about it
        worker(custody, "a")
        assert custody.start(following, "b", redelivered=True).verdict == "run"


class TestCrashes:
    def test_prefetched_only(self, custody):
        """Delivered again and again without a start is no crash."""
        for _ in range(5):
            assert custody.start(FIRST, worker(custody, "a"), redelivered=True).crashes == 0
            custody.end(FIRST, "waiting")

    def test_poison(self, custody):
        """Starts without an end, by workers that are gone, are crashes; the third is the last."""
        verdicts = []
        for n in range(4):
            started = custody.start(FIRST, worker(custody, f"dead{n}", alive=False), f"w{n}", redelivered=True)
            verdicts.append((started.verdict, started.crashes))
        assert verdicts == [("new", 0), ("run", 1), ("run", 2), ("poison", 3)]
        assert [crash["worker"] for crash in started.evidence] == ["w0", "w1", "w2"]

    def test_running_elsewhere(self, custody):
        """A worker that lives and says so goes on running it; the broker's second delivery waits."""
        custody.hold([FIRST], worker(custody, "a", "l"))
        custody.client.hset(custody.keys.attempt("l"), "at", 0)  # long ago
        assert custody.start(FIRST, worker(custody, "b"), redelivered=True).verdict == "busy"
        worker(custody, "a")  # it does not say so any more
        started = custody.start(FIRST, worker(custody, "b"), redelivered=True)
        assert started == ("run", 1, ({"at": 0, "worker": ""},), None)

    def test_dead_on_this_machine(self, custody):
        """Whoever can see that the process is gone need not wait until its presence has expired."""
        gone = replace(Identity.of_this_process(), started=1)
        custody.beat(gone, ["l"])
        custody.hold([FIRST], gone.boot)
        assert custody.start(FIRST, worker(custody, "b"), redelivered=True).verdict == "run"

    def test_one_suspect_at_a_time(self, custody):
        """Two that ran when a worker died: the second waits, and is not blamed for the next crash of the first."""
        other = Passage(life="m")
        for passage in (FIRST, other):
            custody.start(passage, worker(custody, "dead", alive=False), redelivered=True)
        boot = worker(custody, "a")
        assert custody.start(FIRST, boot, redelivered=True).verdict == "run"
        assert custody.start(other, boot, redelivered=True).verdict == "wait"
        custody.end(FIRST, "done")
        started = custody.start(other, boot)
        assert (started.verdict, started.crashes) == ("run", 1)

    def test_the_dock_of_a_dead_worker_is_empty(self, custody):
        """A suspect waits for one that runs, not for one that ran."""
        other = Passage(life="m")
        for passage in (FIRST, other):
            custody.start(passage, worker(custody, "dead", alive=False), redelivered=True)
        custody.start(FIRST, worker(custody, "b", alive=False), redelivered=True)
        assert custody.start(other, worker(custody, "c"), redelivered=True).verdict == "run"


class TestLeave:
    def test_taken_over(self, custody):
        """What follows has started: whoever comes late publishes nothing."""
        boot = worker(custody, "a")
        following = FIRST.next()
        custody.leave(FIRST, following.copy, boot)
        custody.start(following, boot)
        assert custody.leave(FIRST, FIRST.next().copy, boot) == (False, None)

    def test_taken_over_by_a_letter(self, custody):
        """And is told how it ended."""
        custody.leave(FIRST, "", "a")
        custody.end(FIRST, "done", {"how": "letter"})
        assert custody.leave(FIRST, "", "a") == (False, {"how": "letter"})

    def test_a_letter_begun(self, custody):
        """Whoever comes after a worker that died at writing a letter writes that letter, and does not run the body."""
        dead = worker(custody, "dead", alive=False)
        custody.leave(FIRST, "", dead, letter={"how": "letter"})
        boot = worker(custody, "a")
        started = custody.start(FIRST, boot, redelivered=True)
        assert (started.verdict, started.ended) == ("letter", {"how": "letter"})
        assert custody.leave(FIRST, FIRST.next().copy, boot) == (True, {"how": "letter"})

    def test_last_announcement_counts(self, custody):
        """The main process announces after its child was killed at it: the child's copy is revoked."""
        boot = worker(custody, "a")
        childs, mains = FIRST.next(), FIRST.next()
        custody.leave(FIRST, childs.copy, boot)
        custody.leave(FIRST, mains.copy, boot)
        assert custody.start(childs, boot).verdict == "twin"
        assert custody.start(mains, boot).verdict == "run"


class TestLostReply:
    """Redis has done what it was asked, and the connection was lost with its answer: the client asks once more."""

    @pytest.fixture
    def custody(self, redis_url: str) -> Iterator[Custody]:
        with connect_losing(redis_url) as client:
            custody = Custody(client, Keys(), ttl=60, max_crashes=3)
            custody.start(Passage(life="w"), worker(custody, "w"))  # the scripts are loaded
            custody.leave(Passage(life="w"), "c", "w")
            yield custody

    @pytest.mark.parametrize("redelivered", [True, False])
    def test_start(self, custody, redelivered):
        """What was admitted runs: it is not taken for its own twin."""
        boot, following = worker(custody, "a"), FIRST.next()
        custody.leave(FIRST, following.copy, boot)
        with lost_reply():
            assert custody.start(following, boot, redelivered=redelivered).verdict == "run"
        assert custody.start(following, boot).verdict == "twin"

    def test_start_of_poison(self, custody):
        """It is poison still, and not for a crash of its own asking."""
        for n in range(3):
            custody.start(FIRST, worker(custody, f"dead{n}", alive=False), redelivered=True)
        with lost_reply():
            started = custody.start(FIRST, worker(custody, "a"), redelivered=True)
        assert (started.verdict, started.crashes, len(started.evidence)) == ("poison", 3, 3)

    def test_leave(self, custody):
        """The copy that is announced twice is not revoked by its own announcement."""
        boot, following = worker(custody, "a"), FIRST.next()
        with lost_reply():
            assert custody.leave(FIRST, following.copy, boot) == (True, None)
        assert custody.start(following, boot).verdict == "run"


def test_records_expire(custody):
    """No key stays for ever."""
    boot = worker(custody, "a", "l")
    custody.start(FIRST, boot, redelivered=True)
    custody.hold([Passage(life="h")], boot)
    custody.leave(Passage(life="m"), "c", boot)
    custody.end(Passage(life="n"), "done")
    assert all(custody.client.ttl(key) > 0 for key in custody.client.scan_iter("*"))


@pytest.mark.faults
def test_a_redis_that_hangs_keeps_one_task_waiting(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next ones are told at once, for as long again; then it is asked again, and answers."""
    monkeypatch.setattr(custody_module, "HANGS", 0.3)
    custody = Custody(connect(own_redis.url(), socket_timeout=0.5), Keys(), ttl=60, max_crashes=3)
    custody.end(FIRST, "done")
    own_redis.pause()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        custody.end(FIRST, "done")
    own_redis.resume()
    with pytest.raises(StoreUnavailable, match="hung a moment ago"):
        custody.end(FIRST, "done")
    eventually(lambda: _answers(custody), what="an answer")


def _answers(custody: Custody) -> bool:
    try:
        custody.end(FIRST, "done")
    except StoreUnavailable:
        return False
    return True
