"""Arguments put right before they are replayed: shown, checked, kept, undone."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery, Task
from pydantic import BaseModel, field_validator

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

    @redis_jobs.app.task(name="orders.book", pydantic=True)
    def book(order: int, note: str = "") -> None: ...

    @redis_jobs.app.task(name="orders.timed", base=RecoverableTask)
    @passing
    def timed(order: int, note: str = "") -> None: ...

    return here


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that hands on what it gets."""

    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return around


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

    def test_filter_in_the_record(self, here):
        """The record tells by which filter letters were chosen, as that of a replay does."""
        stored(here, "a", 7, region="us")
        here("dlq", "edit", "--task", "orders.*", "--set", "kwargs.region=eu", "--yes")
        [begun] = here.json("audit", "--action", "edit begun")["entries"]
        assert begun["filter"].startswith("--task='orders.*' ")
        assert here.json("operations", "list")["operations"][0]["filter"] == begun["filter"]

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
        [{"op": "test", "path": "/args/0", "value": 8}], [{"op": "add", "path": "/args/0/x/y", "value": 1}],
    ])  # fmt: skip
    def test_patches_that_do_not_fit(self, here, tmp_path, patch):
        """A patch that fails changes nothing."""
        one = stored(here, "a", 7)
        file = tmp_path / "fix.json"
        file.write_text(json.dumps(patch))
        told = here("dlq", "edit", "a", "--patch", str(file), "--yes", code=2).errors
        assert "--patch: expected" in told
        assert "<class" not in told
        assert here.jobs.dead_letters.get("a").body == one.body

    @pytest.mark.parametrize(
        ("operation", "why"),
        [
            (
                {"op": "test", "path": "/kwargs/token", "value": "other"},
                "test '/kwargs/token' does not find that value",
            ),
            ({"op": "move", "from": "/none/1", "path": "/args/0"}, "move '/args/0' finds no such place"),
        ],
    )
    def test_patches_tell_no_values(self, here, operation, why):
        """What is there is not shown: it may be secret."""
        stored(here, "a", 7, token="hunter2")
        with pytest.raises(ConfigurationError) as told:
            Edit.of(patch=[{"op": "test", "path": "/args/0", "value": 7}, operation]).onto(
                here.jobs.app, here.jobs.dead_letters.get("a")
            )
        assert f"a patch that fits the arguments; {why}, got 'a'" in str(told.value)
        assert "hunter2" not in str(told.value)

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
        assert "expected what the model Order takes, as order of orders.ship" in told
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

    @pytest.mark.parametrize("task", ["orders.ship", "orders.book", "orders.timed"])
    @pytest.mark.parametrize("change", ["kwargs.nosuch=1", "kwargs.order=1"])
    def test_wrapped(self, here, task, change):
        """A wrong call is refused in a sentence behind Celery's wrapper and any other, and none gets through."""
        one = stored(here, "a", {"id": 7} if task == "orders.ship" else 7, task=task)
        for how in ("--dry-run", "--yes"):
            told = here("dlq", "edit", "a", "--set", change, how, code=2).errors
            assert f"--set: expected arguments that {task} takes, got" in told
            assert "Traceback" not in told
        assert here.jobs.dead_letters.get("a").body == one.body
        here("dlq", "edit", "a", "--set", "kwargs.note=x", "--yes")
        assert arguments(here, "a")[1] == {"note": "x"}

    def test_mixed_set(self, here):
        """Letters of such tasks that do not fit are counted."""
        stored(here, "a", 7, region="us")
        stored(here, "b", {"id": 7}, task="orders.ship")
        stored(here, "c", 7, task="orders.timed")
        told = here("dlq", "edit", "--all", "--set", "kwargs.region=eu", "--dry-run", code=2).errors
        assert "2 of 3 letters do not fit; nothing was done" in told

    def test_unknown_task(self, here):
        """A task that is not registered cannot be asked; that can be left out."""
        stored(here, "a", 7, task="orders.gone")
        words = ("dlq", "edit", "a", "--set", "args.0=8", "--yes")
        assert "expected a task that this app knows" in here(*words, code=2).errors
        here(*words, "--no-validate")
        assert arguments(here, "a") == ([8], {})


class TestCalls:
    """What is refused of tasks of many a form."""

    @staticmethod
    def fits(task: Any, before: Any, *args: Any, **kwargs: Any) -> bool:
        try:
            check_call(task.app, task.name, args, kwargs, before=before)
        except ConfigurationError:
            return False
        return True

    @pytest.fixture
    def app(self) -> Celery:
        return Celery(set_as_current=False)

    def test_a_decorator_that_adds_an_argument(self, app):
        """What it adds may be lacking; a name that nobody knows is refused."""

        def with_session(function):
            @functools.wraps(function)
            def around(*args, **kwargs):
                return function("session", *args, **kwargs)

            return around

        @app.task(shared=False)
        @with_session
        def sync(session, order, note=""): ...

        known = ([7], {})
        assert self.fits(sync, known, 8)
        assert self.fits(sync, known, note="x", order=8)
        assert not self.fits(sync, known, 8, nosuch=1)

    def test_a_decorator_that_drops_an_argument(self, app):
        """A letter with what it drops does not fit the function: nothing more is known, and nothing refused."""

        def of_tenant(function):
            @functools.wraps(function)
            def around(*args, **kwargs):
                kwargs.pop("tenant")
                return function(*args, **kwargs)

            return around

        @app.task(shared=False)
        @of_tenant
        def sync(order): ...

        assert self.fits(sync, ([7], {"tenant": "a"}), 8, tenant="b")
        assert self.fits(sync, None, 8, tenant="b")

    def test_a_decorator_that_says_what_it_takes(self, app):
        """Its `__signature__` counts, whatever the letter was."""

        def with_session(function):
            @functools.wraps(function)
            def around(*args, **kwargs):
                return function("session", *args, **kwargs)

            found = inspect.signature(function)
            around.__signature__ = found.replace(parameters=list(found.parameters.values())[1:])
            return around

        @app.task(shared=False)
        @with_session
        def sync(session, order): ...

        assert self.fits(sync, None, 8)
        assert not self.fits(sync, None, 8, 9)
        assert not self.fits(sync, None, order=8, session=1)

    @pytest.mark.parametrize("options", [{}, {"autoretry_for": (KeyError,)}])
    @pytest.mark.parametrize("pydantic", [False, True])
    def test_bound(self, app, options, pydantic):
        """`self` is no argument of the call; Celery's own wrappers are seen through."""

        @app.task(shared=False, bind=True, pydantic=pydantic, **options)
        def sync(self, order: int, note: str = "") -> None: ...

        assert self.fits(sync, None, 7, note="x")
        assert not self.fits(sync, None)
        assert not self.fits(sync, None, 7, nosuch=1)
        assert not self.fits(sync, None, 7, "x", "y")

    def test_pydantic_before_a_decorator(self, app):
        """Celery's wrapper binds the signature that it sees, so that is what counts."""

        @app.task(shared=False, pydantic=True, bind=True, autoretry_for=(KeyError,))
        @passing
        def sync(self, order: Order) -> None: ...

        assert self.fits(sync, None, {"id": 7})
        assert not self.fits(sync, None, {"id": 7}, nosuch=1)
        with pytest.raises(ConfigurationError, match="what the model Order takes, as order of"):
            check_call(app, sync.name, [{"id": "x"}], {})

    def test_classes(self, app):
        """They have no `__header__`: `run` is asked, behind a `__call__` of their own as behind a decorator."""

        class Plain(Task):
            name = "plain"

            def run(self, order, note=""): ...

        class Opened(Plain):
            name = "opened"

            def __call__(self, *args, **kwargs):
                return self.run("session", *args, **kwargs)

        class Recovered(RecoverableTask):
            name = "recovered"

            def run(self, order, note=""): ...

        for task in (app.register_task(Plain()), app.register_task(Recovered())):
            assert self.fits(task, None, 7)
            assert not self.fits(task, None, 7, nosuch=1)
            assert not self.fits(task, None)
        opened = app.register_task(Opened())
        assert self.fits(opened, ([], {}))
        assert not self.fits(opened, ([7], {}), 7, nosuch=1)

    def test_positional_only(self, app):
        """Such a parameter is not to be had by its name, though Celery's own check does not see it."""

        @app.task(shared=False)
        def sync(order, /, note=""): ...

        assert self.fits(sync, None, 7, note="x")
        assert not self.fits(sync, None, order=7)

    def test_models_as_celery_takes_them(self, app):
        """Only parameters that are a model, with the task's context; without `pydantic=True` none."""

        class Aware(BaseModel):
            id: int

            @field_validator("id")
            @classmethod
            def known(cls, value, info):
                return info.context["ids"][value]

        def sync(order, lines=()): ...

        sync.__annotations__.update(order=Aware, lines=list[Order])  # a local class is not found by its name
        app.task(sync, name="aware", shared=False, pydantic=True, pydantic_context={"ids": {7: 1}})
        app.finalize()

        @app.task(shared=False)
        @passing
        def load(order: Order): ...

        assert self.fits(load, ([7], {}), 8)
        check_call(app, "aware", [{"id": 7}, [{"id": 1}]], {})
        with pytest.raises(
            ConfigurationError, match=r"what the model Aware takes, as order of aware, got 'KeyError: 8'"
        ):
            check_call(app, "aware", [{"id": 8}], {})


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

    def test_secrets(self, here):
        """Of a secret it is said that it changes, not to what; also of one within a text, and in the history."""
        stored(here, "a", 7, password="old1", url="https://ada:old2@x/", region="us")
        sets = ("--set", "kwargs.password=new1", "--set", "kwargs.url=https://ada:new2@x/")
        told = here("dlq", "edit", "a", *sets, "--no-validate", "--yes").output
        told += here("dlq", "show", "a").output + here("dlq", "edit", "a", "--undo", "--dry-run").output
        for diff in (line for line in told.splitlines() if line.startswith("  + ")):
            after = json.loads(diff[4:])["kwargs"]
            assert after == {"password": "*** (changed)", "url": "https://ada:***@x/ (changed)", "region": "us"}
        assert told.count("(changed)") == 6
        assert not [one for one in ("old1", "new1", "old2", "new2") if one in told]

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
