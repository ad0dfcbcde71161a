"""Groups: what died of the same thing, and what people say about it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from celery_recovery import Recovery
from celery_recovery.dead_letters.common import in_common
from celery_recovery.dead_letters.groups import GroupState
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.store import DeadLetterStore
from celery_recovery.exceptions import ConfigurationError, GroupNotFound
from celery_recovery.monitoring.events import group_changed
from celery_recovery.redis import connect
from celery_recovery.redis.keys import Keys
from tests.integration.jobs_client import Jobs
from tests.integration.test_cli import Here
from tests.letters import body, letter

pytestmark = pytest.mark.redis
SAME = "1:00112233aabbccdd"


@pytest.fixture
def news() -> list[tuple[str, str]]:
    """Fingerprint and word, as the store tells them."""
    return []


@pytest.fixture
def store(redis_url: str, news: list[tuple[str, str]]) -> Iterator[DeadLetterStore]:
    client = connect(redis_url)
    yield DeadLetterStore(
        client, Keys("shop"), on_news=lambda told: news.extend((one.error.fingerprint, word) for one, word in told)
    )
    client.close()


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def dead(task_id: str, ago: float = 0.0, version: str = "", **changes: Any) -> Letter:
    return replace(letter(task_id, died_at=time.time() - ago, **changes), code_version=version)


def test_whoever_is_told_holds_up_no_letter(redis_url, caplog):
    """A listener that raises is logged; the letters are stored, and taken for stored."""

    def tell(_: Any) -> None:
        raise RuntimeError("nobody listens")

    store = DeadLetterStore(connect(redis_url), Keys("shop"), on_news=tell)
    assert store.add_many([dead("a"), dead("b")]) == ["new", "new"]
    assert store.stats().open == 2
    assert "news_not_told" in [record.action for record in caplog.records]


class TestCounted:
    def test_outlives_its_letters(self, store):
        """What is known of a group stays when its letters have gone."""
        store.add_many([dead("a", 7200, queue="fast"), dead("b", queue="slow", version="v2")])
        store.discard(["a", "b"])
        store.max_age = 0
        while store.sweep():
            pass
        [group] = store.grouped.list(states=list(GroupState))
        assert (group.count, group.total, group.newest_id) == (0, 2, "")
        assert group.last_seen - group.first_seen == pytest.approx(7200, abs=5)
        assert (dict(group.queues), dict(group.versions)) == ({"fast": 1, "slow": 1}, {"v2": 1})
        assert dict(group.versions_since) == {"v2": group.last_seen}
        assert (sum(group.trend), group.task, group.error_type) == (2, "orders.charge", "network")

    def test_duplicates_do_not_count(self, store):
        """The same death, stored twice, is one."""
        one = dead("a")
        store.add_many([one, one])
        assert store.grouped.get(SAME).total == 1

    def test_order(self, store):
        """The largest first, or the newest; those that are ignored only when asked for."""
        store.add_many([dead("a", 60), dead("b", 60), dead("c", 0, fingerprint="1:other")])
        assert [one.fingerprint for one in store.grouped.list()] == [SAME, "1:other"]
        assert [one.fingerprint for one in store.grouped.list(newest_first=True)] == ["1:other", SAME]
        store.grouped.ignore(SAME, by="ada")
        assert [one.fingerprint for one in store.grouped.list(states=[GroupState.OPEN])] == ["1:other"]
        assert [one.share for one in store.grouped.list()] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]

    def test_many_parts(self, store):
        """Workers with names of their own each cannot make a record grow without bound."""
        store.add_many([replace(dead(f"w{n}"), worker=f"w{n}@host") for n in range(300)])
        group = store.grouped.get(SAME)
        assert sum(group.workers.values()) == 300
        assert len(group.workers) <= 201

    def test_named(self, store):
        """The beginning of a fingerprint is enough, with its version or without, if it is one group's alone."""
        store.add_many([dead("a", fingerprint="1:abc1"), dead("b", fingerprint="1:abc2")])
        assert store.grouped.get("abc1").fingerprint == store.grouped.get("1:abc1").fingerprint == "1:abc1"
        for unclear in ("abc", "1:", "zzz", ""):
            with pytest.raises(GroupNotFound):
                store.grouped.get(unclear)


class TestNews:
    def test_new_and_growing(self, store, news):
        """The first death is news, and the tenth, the hundredth in one hour; what lies far back is not."""
        store.add_many([dead(f"t{n}") for n in range(101)])
        assert news == [(SAME, "new"), (SAME, "growing"), (SAME, "growing")]

    def test_usual(self, store, news):
        """A group that has as many every hour does not grow."""
        store.add_many([dead(f"t{hour}-{n}", hour * 3600) for hour in range(1, 25) for n in range(10)])
        news.clear()
        store.add_many([dead(f"now{n}") for n in range(10)])
        assert news == []

    def test_regression(self, store, news):
        """A death after it was resolved opens the group again, once; one before does not."""
        store.add(dead("a", 60))
        store.grouped.resolve(SAME, by="ada", note="deployed")
        store.add(dead("late", 30))
        assert store.grouped.get(SAME).state is GroupState.RESOLVED
        store.add_many([dead("b", -1, version="v3"), dead("c", -1)])
        group = store.grouped.get(SAME)
        assert (group.state, group.regressions, group.regressed_in) == (GroupState.OPEN, 1, "v3")
        assert news == [(SAME, "new"), (SAME, "regressed")]
        assert sum(group.trend) == group.total == 4  # the one that opened it again, too

    def test_old_workers(self, store, news):
        """Resolved in a version: deaths in versions that had the fault are no regression, in that one they are."""
        store.add_many([dead("a", 60, "v1"), dead("b", 60, "v2")])
        store.grouped.resolve(SAME, by="ada", version="v3")
        store.add_many([dead("c", -1, "v1"), dead("d", -1, "v2")])
        assert store.grouped.get(SAME).state is GroupState.RESOLVED
        store.add(dead("e", -1, "v3"))
        assert store.grouped.get(SAME).state is GroupState.OPEN
        assert news[-1] == (SAME, "regressed")

    def test_mended_in_a_version_that_failed_before(self, store, news):
        """The version that is named counts, even if it had the fault."""
        store.add(dead("a", 60, "v1"))
        store.grouped.resolve(SAME, by="ada", version="v1")
        store.add(dead("b", -1, "v1"))
        assert news[-1] == (SAME, "regressed")

    def test_ignored_for_some_deaths(self, store, news):
        """It is told of again when there were more."""
        store.add(dead("a"))
        store.grouped.ignore(SAME, by="ada", more=3)
        news.clear()
        store.add_many([dead(f"b{n}") for n in range(3)])
        assert news == []
        store.add(dead("one-more"))
        assert news == [(SAME, "unignored")]

    def test_ignored_for_a_time(self, store, news):
        """It is told of again when the time is over."""
        store.add(dead("a"))
        store.grouped.ignore(SAME, by="ada", until=time.time() + 0.3)
        store.add(dead("b"))
        time.sleep(0.4)
        store.add(dead("c"))
        assert news == [(SAME, "new"), (SAME, "unignored")]

    @pytest.mark.parametrize("options", [{"more": 0}, {"until": 1.0}])
    def test_nonsense(self, store, options):
        """A limit that makes no sense is refused."""
        store.add(dead("a"))
        with pytest.raises(ConfigurationError):
            store.grouped.ignore(SAME, by="ada", **options)

    def test_hostile(self, store, news):
        """Whatever a message holds, the record takes it, and can be read."""
        odd = dead("a", message="\ud800\x00'\"\\" + "x" * 10_000, fingerprint="1:o dd\n*", queue="q\x1b[2J")
        store.add(replace(odd, worker="w\udfff", code_version="v" * 1000))
        [group] = store.grouped.list()
        assert len(group.message) <= 300
        assert news == [("1:o dd\n*", "new")]

    def test_signal(self, redis_jobs):
        """Who listens is told in the process that stored the letter; one that raises disturbs nobody."""
        heard: list[Any] = []

        def listen(sender: Any, fingerprint: str, news: str, letter: Letter, **_: Any) -> None:
            heard.append((fingerprint, news, letter.id))
            raise RuntimeError

        group_changed.connect(listen)
        try:
            store = Recovery.of(redis_jobs.app).store
            assert store is not None
            store.add(dead("a"))
        finally:
            group_changed.disconnect(listen)
        assert heard == [(SAME, "new", "a")]


class TestInCommon:
    def letters(self, *arguments: dict[str, Any]) -> list[Letter]:
        return [replace(letter(f"t{n}"), body=body(n, **kwargs)) for n, kwargs in enumerate(arguments)]

    def test_what_nearly_all_have(self):
        """A value is told that nine in ten have, with its place as the filter writes it."""
        found = in_common(
            self.letters(*({"region": "eu" if n else "us", "order": {"id": n, "tax": None}} for n in range(10)))
        )
        assert [(one.path, one.value, one.letters, one.of) for one in found] == [
            ("order.tax", None, 10, 10), ("region", "eu", 9, 10),
        ]  # fmt: skip

    def test_too_few(self):
        """Two letters have nearly everything in common, which says nothing."""
        assert in_common(self.letters({"a": 1}, {"a": 1})) == []

    def test_secrets(self, here):
        """What is hidden elsewhere is hidden here."""
        here.jobs.dead_letters.store.add_many(
            [replace(dead(f"t{n}"), body=body(n, password="hunter2", region="eu")) for n in range(5)]
        )
        told = here("dlq", "group", SAME).output
        assert "hunter2" not in told
        assert "'eu' in 5 of 5" in told
        assert "***" not in told.partition("In common")[2].partition("The newest letters")[0]


class TestCommands:
    def test_walk(self, here):
        """Found, understood, resolved, come back: each step says what it is about."""
        store = here.jobs.dead_letters.store
        store.add_many([dead(f"t{n}", 60) for n in range(9)] + [dead("noise", fingerprint="1:noise")])
        told = here("dlq", "groups").output
        assert "90%" in told
        assert "the payment service did not answer" in told
        shown = here("dlq", "group", SAME[:6]).output
        assert "9 open, 90% of all open ones; 9 deaths in all" in shown
        assert "/app/shop/orders.py" in shown
        told = here("dlq", "resolve", SAME, "--in-version", "v2", "--note", "timeout raised")
        assert "in version v2; timeout raised" in told.output
        assert "recovery dlq replay --fingerprint" in told.errors
        store.add(dead("back", -1, "v2"))
        [group] = [one for one in json.loads(here("dlq", "groups", "--json").output)["groups"] if one["count"] > 1]
        assert (group["state"], group["regressions"], group["regressed_in"]) == ("open", 1, "v2")
        assert "back 1x" in here("dlq", "groups").output
        state = re.search(r"State +(.*)", here("dlq", "group", SAME).output)[1]
        assert re.match(
            r"open; resolved by \S+, \S+ ago; in version v2; timeout raised; came back once, last in v2", state
        )
        assert "ignored" in here("dlq", "ignore", "1:noise", "--for", "2h").output
        assert "noise" in here("dlq", "groups", "--state", "ignored").output
        assert "open; opened again by" in here("dlq", "reopen", "1:noise").output
        actions = [one["action"] for one in json.loads(here("audit", "--json").output)["entries"]]
        assert actions[:2] == ["group reopened"] * 2
        assert "group resolved" in actions

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("groups", "--state", "fixed"), 2), (("group", "nope"), 4), (("resolve", "nope"), 4),
            (("ignore", SAME, "--for", "soon"), 2), (("ignore", SAME, "--count", "0"), 2),
        ],
    )  # fmt: skip
    def test_nonsense(self, here, words, code):
        """What makes no sense, or is not known, has its exit code."""
        here("dlq", *words, code=code)

    def test_empty(self, here):
        """No groups is no failure."""
        assert "There are no open dead letters." in here("dlq", "groups").errors
