"""Arguments put right before they are replayed: shown, checked, kept, undone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from celery_recovery import Filter, LetterState, RecoverableTask
from celery_recovery.dead_letters.editing import Edit
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.dead_letters.signature import check_call
from celery_recovery.exceptions import ConfigurationError
from tests.integration.jobs_client import MODULE, Jobs, eventually
from tests.integration.test_cli import Here
from tests.integration.test_operations import fill
from tests.letters import body, letter

pytestmark = pytest.mark.redis


class Order(BaseModel):
    """What a task takes."""

    id: int
    region: str = "eu"


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys

    @redis_jobs.app.task(name="orders.charge", base=RecoverableTask)
    def charge(order: int, region: str = "us", *, lines: Any = None) -> None: ...

    @redis_jobs.app.task(name="orders.ship", pydantic=True)
    def ship(order: Order, note: str = "") -> None: ...

    return here


def stored(here: Here, task_id: str, *args: Any, task: str = "orders.charge", **kwargs: Any) -> Letter:
    one = replace(letter(task_id, task), body=body(*args, **kwargs))
    here.jobs.dead_letters.store.add(one)
    return one


def arguments(here: Here, task_id: str) -> Any:
    return here.jobs.dead_letters.get(task_id).arguments


class TestChanges:
    @pytest.mark.parametrize(
        ("changes", "after"),
        [
            (["kwargs.region=eu"], ([7], {"region": "eu", "lines": [{"sku": "a", "n": 1}]})),
            (["args.0=8"], ([8], {"region": "us", "lines": [{"sku": "a", "n": 1}]})),
            (["kwargs.lines.0.n=2", "kwargs.lines.0.sku=7"], ([7], {"region": "us", "lines": [{"sku": "7", "n": 2}]})),
            (["kwargs.region:=null"], ([7], {"region": None, "lines": [{"sku": "a", "n": 1}]})),
            (["kwargs.lines=[]"], ([7], {"region": "us", "lines": []})),
        ],
    )
    def test_set(self, here, changes, after):
        """Each change lands where it says; the rest of the message stays."""
        stored(here, "a", 7, region="us", lines=[{"sku": "a", "n": 1}])
        assert here.jobs.dead_letters.edit(["a"], changes).done == 1
        found = here.jobs.dead_letters.get("a")
        assert found.arguments == after
        assert found.embed == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        assert (found.edits, found.size) == (1, len(found.body))

    def test_patch(self, here, tmp_path):
        """A JSON patch adds, removes and tests."""
        stored(here, "a", 7, region="us")
        patch = tmp_path / "fix.json"
        patch.write_text(json.dumps([
            {"op": "test", "path": "/kwargs/region", "value": "us"}, {"op": "remove", "path": "/kwargs/region"},
            {"op": "add", "path": "/kwargs/lines", "value": [1]},
        ]))  # fmt: skip
        here("dlq", "edit", "a", "--patch", str(patch), "--yes")
        assert arguments(here, "a") == ([7], {"lines": [1]})

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("--set", "kwargs.colour=red"), "arguments that orders.charge takes"),
            (("--set", "kwargs=1"), "--set: expected kwargs.NAME=VALUE"),
            (("--set", "args.5=1"), "there is no '5'"),
            ((), "--set: expected kwargs.NAME=VALUE"),
            (("--patch", "/no/such"), "--patch: expected a file with a JSON patch"),
            (("--undo",), "--undo: expected letters that were edited"),
            (("--undo", "--set", "args.0=1"), "--undo: expected ids of letters and nothing else"),
        ],
    )
    def test_nonsense(self, here, words, why):
        """What does not fit is refused by name, and nothing is changed."""
        one = stored(here, "a", 7)
        assert why in here("dlq", "edit", "a", *words, "--yes", code=2).errors
        assert here.jobs.dead_letters.get("a").body == one.body

    @pytest.mark.parametrize("patch", [
        [{"op": "remove", "path": "/kwargs"}], [{"op": "replace", "path": "/args", "value": {}}],
        [{"op": "remove", "path": "/kwargs/none"}], [{"op": "jump"}], {"op": "add"}, [1],
        [{"op": "test", "path": "/args/0", "value": 8}],
    ])  # fmt: skip
    def test_patches_that_do_not_fit(self, here, tmp_path, patch):
        """A patch that fails changes nothing."""
        one = stored(here, "a", 7)
        file = tmp_path / "fix.json"
        file.write_text(json.dumps(patch))
        assert "--patch: expected" in here("dlq", "edit", "a", "--patch", str(file), "--yes", code=2).errors
        assert here.jobs.dead_letters.get("a").body == one.body

    def test_one_of_many_does_not_fit(self, here):
        """Then none is changed, and it is told how many do not."""
        stored(here, "a", 7, region="us")
        stored(here, "b", 7, 8, 9)
        told = here("dlq", "edit", "--all", "--set", "kwargs.region=eu", "--yes", code=2).errors
        assert "1 of 2 letters do not fit; nothing was done" in told
        assert arguments(here, "a") == ([7], {"region": "us"})

    def test_pickle(self, here):
        """A body that is no JSON is not touched: reading it could run code."""
        one = replace(letter("p"), body=b"\x80\x04\x95x", content_type="application/x-python-serialize")
        here.jobs.dead_letters.store.add(one)
        assert "plain JSON text" in here("dlq", "edit", "p", "--set", "args.0=1", "--yes", code=2).errors

    def test_tagged_values(self, here):
        """What Celery's JSON tags, as dates, goes through unharmed."""
        when = {"__type__": "datetime", "__value__": "2026-01-02T03:04:05+00:00"}
        stored(here, "a", 7, region="us", lines=when)
        here.jobs.dead_letters.edit(["a"], ["kwargs.region=eu"])
        assert json.loads(here.jobs.dead_letters.get("a").body)[1] == {"region": "eu", "lines": when}


class TestSignature:
    def test_pydantic(self, here):
        """A model that the task would refuse is refused here, and says why."""
        stored(here, "a", {"id": 7}, task="orders.ship")
        told = here("dlq", "edit", "a", "--set", "args.0.id=seven", "--yes", code=2).errors
        assert "a Order as order of orders.ship" in told
        assert "id: Input should be a valid integer" in told
        here("dlq", "edit", "a", "--set", "args.0.id=8", "--set", "args.0.region=us", "--yes")
        assert arguments(here, "a") == ([{"id": 8, "region": "us"}], {})

    def test_strict(self):
        """A task that is strict about its models is so here."""
        app = Celery(set_as_current=False)

        @app.task(name="strict", pydantic=True, pydantic_strict=True)
        def strict(order: Order) -> None: ...

        @app.task(name="lax", pydantic=True, pydantic_strict=False)
        def lax(order: Order | None) -> None: ...

        app.finalize()
        check_call(app, "lax", [{"id": "7"}], {})
        check_call(app, "lax", [None], {})
        with pytest.raises(ConfigurationError, match="valid integer"):
            check_call(app, "strict", [{"id": "7"}], {})

    def test_unknown_task(self, here):
        """A task that is not registered cannot be asked; that can be left out."""
        stored(here, "a", 7, task="orders.gone")
        words = ("dlq", "edit", "a", "--set", "args.0=8", "--yes")
        assert "expected a task that this app knows" in here(*words, code=2).errors
        here(*words, "--no-validate")
        assert arguments(here, "a") == ([8], {})


class TestKept:
    def test_undone(self, here):
        """Every version is kept, with who, when and why; undo goes back, and again, forth."""
        stored(here, "a", 7, region="us")
        here("dlq", "edit", "a", "--set", "kwargs.region=eu", "--yes", "--note", "wrong region")
        shown = here("dlq", "show", "a").output
        assert "Edit 1, by" in shown
        assert "wrong region" in shown
        assert '- {"args": [7], "kwargs": {"region": "us"}}' in shown
        assert '+ {"args": [7], "kwargs": {"region": "us"}}' in here("dlq", "edit", "a", "--undo", "--dry-run").output
        assert arguments(here, "a") == ([7], {"region": "eu"})
        here("dlq", "edit", "a", "--undo", "--yes")
        assert arguments(here, "a") == ([7], {"region": "us"})
        here("dlq", "edit", "a", "--undo", "--yes")
        assert arguments(here, "a") == ([7], {"region": "eu"})
        versions = json.loads(here("dlq", "show", "a", "--json").output)["versions"]
        assert [one["after"]["kwargs"]["region"] for one in versions] == ["eu", "us", "eu"]
        actions = [one["action"] for one in json.loads(here("audit", "--json").output)["entries"]]
        assert actions.count("edit undone") == 4
        assert "edit done" in actions

    def test_bounded(self, here):
        """Twenty versions are kept; they go with the letter."""
        stored(here, "a", 0)
        letters = here.jobs.dead_letters
        for n in range(25):
            letters.edit(["a"], [f"args.0={n}"])
        versions = letters.store.versions("a")
        assert (len(versions), versions[0].number) == (20, 5)
        letters.discard(["a"])
        letters.store.max_age = 0
        letters.store.sweep()
        assert letters.store.versions("a") == []

    def test_single_use(self, here):
        """Of two who edit the same version, the second changes nothing."""
        one = stored(here, "a", 7)
        letters = here.jobs.dead_letters
        read = letters.get("a")
        edit = Edit.of(["args.0=8"])
        assert letters.store.edit(edit.onto(here.jobs.app, read)) == "edited"
        assert letters.store.edit(edit.onto(here.jobs.app, read)) == "changed"
        assert len(letters.store.versions(one.id)) == 1

    def test_killed(self, here):
        """A batch that is gone through again edits no letter twice."""
        for n in range(5):
            stored(here, f"t{n}", n)
        letters = here.jobs.dead_letters
        real = letters.operations.advance

        def killed(operation_id: str, token: str, **what: Any) -> Any:
            if "position" in what:
                raise SystemExit
            return real(operation_id, token, **what)

        letters.operations.advance = killed
        with pytest.raises(SystemExit):
            letters.edit(Filter(), ["args.0=9"])
        letters.operations.advance = real
        ended = letters.run(letters.operations.latest(1)[0].id)
        assert (ended.done, ended.position, dict(ended.skipped)) == (5, 5, {})
        assert [letters.get(f"t{n}").edits for n in range(5)] == [1] * 5

    def test_tried_by_whoever_runs_it(self, here):
        """Only begun, it is tried on all letters first, and changes none where it does not fit one."""
        for n in range(4):
            stored(here, f"t{n}", n)
        here.jobs.dead_letters.store.add(letter("other", f"{MODULE}.fine", body=body(first=1)))
        letters = here.jobs.dead_letters
        begun = letters.edit(Filter(), ["args.0=9"], only_begin=True).operation
        ended = letters.run(begun)
        assert (ended.state.value, ended.done, ended.position) == ("cancelled", 0, 0)
        assert ended.message.startswith("nothing was changed: it does not fit 1 of 5 letters; the first: set: expected")
        assert [letters.get(f"t{n}").edits for n in range(4)] == [0] * 4
        fits = letters.run(letters.edit(["t0", "t1"], ["args.0=9"], only_begin=True).operation)
        assert (fits.state.value, fits.done, fits.message) == ("done", 2, "")

    def test_many_undone(self, here):
        """An edit of many is undone as one; what was changed again since, or was never edited, is left alone."""
        for n in range(4):
            stored(here, f"t{n}", n)
        letters = here.jobs.dead_letters
        edit = letters.edit(["t0", "t1", "t2"], ["args.0=9"]).operation
        letters.edit(["t2"], ["args.0=10"])
        undone = letters.undo_edits(["t0", "t1", "t2", "t3"], of=edit, reason="a slip", by="anna")
        assert (undone.selected, undone.done) == (4, 2)
        assert undone.warnings == {"changed": 1, "does not fit: expected a letter that was edited": 1}
        assert [letters.get(f"t{n}").arguments[0] for n in range(4)] == [[0], [1], [10], [3]]
        again = letters.undo_edits(["t0", "t1"], of=edit)
        assert (again.done, letters.get("t0").arguments[0]) == (0, [0]), "an undone edit is not brought back by it"
        assert letters.undo_edits(["t2"]).done == 1
        assert letters.get("t2").arguments[0] == [9]

    def test_killed_undoing(self, here):
        """A batch that is gone through again undoes no edit twice, which would bring it back."""
        for n in range(5):
            stored(here, f"t{n}", n)
        letters = here.jobs.dead_letters
        letters.edit(Filter(), ["args.0=9"])
        real = letters.operations.advance

        def killed(operation_id: str, token: str, **what: Any) -> Any:
            if "position" in what:
                raise SystemExit
            return real(operation_id, token, **what)

        letters.operations.advance = killed
        with pytest.raises(SystemExit):
            letters.undo_edits(Filter())
        letters.operations.advance = real
        ended = letters.run(letters.operations.latest(1)[0].id)
        assert (ended.done, ended.position, dict(ended.skipped)) == (5, 5, {})
        assert [letters.get(f"t{n}").arguments[0] for n in range(5)] == [[n] for n in range(5)]


def test_replayed_as_edited(redis_jobs):
    """What a worker runs is the edited letter; its books balance."""
    fill(redis_jobs, 1, "fine", "before")

    @redis_jobs.app.task(name=f"{MODULE}.fine")
    def fine(token: str) -> None: ...

    redis_jobs.dead_letters.edit(Filter(), ["args.0=after"])
    redis_jobs.worker()
    redis_jobs.dead_letters.replay(Filter())
    eventually(lambda: redis_jobs.ledger.lines("after"))
    assert redis_jobs.ledger.lines("before") == []


def test_edited_after_a_replay_that_ended_without_a_letter(here: Here) -> None:
    """A replay may end as a plain failure: the letter is back among the failed, and can be edited like any other."""
    store = here.jobs.dead_letters.store
    stored(here, "one", 7)
    (claim,) = store.claim(("one",), "op")
    store.published(("one",), "op")
    assert store.started("one", claim.letter.token, "copy") == "run"
    assert store.settle("one", "copy", LetterState.FAILED, "expected")
    here.jobs.dead_letters.edit(("one",), ["args.0=8"])
    assert arguments(here, "one") == ([8], {})
