"""`RecoverableTask` without a worker: direct calls, eager mode, options, wiring."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery, Task, chain
from celery.exceptions import MaxRetriesExceededError, Retry

from celery_recovery import (
    ConfigurationError,
    Discard,
    ErrorClassifier,
    ErrorType,
    Quarantine,
    RecoverableTask,
    Recovery,
    RetryPolicy,
    Snooze,
)
from celery_recovery.batch.fan_out import JOINT
from celery_recovery.call import merged_call


@pytest.fixture
def app() -> Celery:
    """An app that runs its tasks at once."""
    made = Celery("eager", broker="memory://", backend="cache+memory://", set_as_current=False)
    made.conf.task_always_eager = True
    return made


def test_a_direct_call_is_a_plain_call(app: Celery) -> None:
    """Called as a function, a task is its function, errors included."""

    @app.task(shared=False, base=RecoverableTask)
    def halve(n: int) -> float:
        return 1 / n

    assert halve(2) == 0.5
    with pytest.raises(ZeroDivisionError):
        halve(0)


def test_eager_tasks_retry_without_waiting_and_then_fail(app: Celery) -> None:
    """As in Celery's eager mode: retried at once, and the exception at the end is the result."""
    runs: list[int] = []

    @app.task(shared=False, base=RecoverableTask, bind=True, policies={"network": 3})
    def call(self: Task) -> None:
        runs.append(self.request.retries)
        raise ConnectionResetError(104, "Connection reset by peer")

    result = call.delay()
    assert isinstance(result.result, ConnectionResetError)
    assert runs == [0, 1, 2]


def test_an_eager_task_recovers(app: Celery) -> None:
    """What comes back at the second attempt is a success."""
    runs: list[int] = []

    @app.task(shared=False, base=RecoverableTask)
    def call() -> str:
        runs.append(1)
        if len(runs) < 2:
            raise TimeoutError
        return "done"

    assert call.delay().get() == "done"


def test_nested_direct_calls_belong_to_the_outer_task(app: Celery) -> None:
    """A task that calls another, or itself, as a function gets the exception, not a retry of the inner one."""
    seen: list[str] = []

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def inner(self: Task, fail: bool) -> str:
        if fail:
            raise self.retry(exc=TimeoutError("inner"))
        return "fine"

    @app.task(shared=False, base=RecoverableTask, bind=True, policy=1)
    def outer(self: Task, depth: int) -> str:
        if depth:
            return str(self(depth - 1))
        try:
            inner(True)
        except TimeoutError as exc:
            seen.append(str(exc))
        return str(inner(False))

    assert outer.delay(1).get() == "fine"
    assert seen == ["inner"]


def test_self_retry_raises_what_celery_raises(app: Celery) -> None:
    """`exc` at the end where it was given; MaxRetriesExceededError where it was not."""

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def with_exc(self: Task) -> None:
        raise self.retry(exc=KeyError("given"), max_retries=1, countdown=0)

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def without(self: Task) -> None:
        raise self.retry(max_retries=1, countdown=0)

    assert isinstance(with_exc.delay().result, KeyError)
    assert isinstance(without.delay().result, MaxRetriesExceededError)


def test_a_limit_given_once_does_not_leak(app: Celery) -> None:
    """In Celery `self.retry(max_retries=…)` changes the limit of other calls in the same process; here it does not."""
    runs: list[str] = []

    @app.task(shared=False, base=RecoverableTask, bind=True, policy=2)
    def call(self: Task, name: str, limit: int | None) -> None:
        runs.append(name)
        raise self.retry(exc=TimeoutError(), countdown=0, max_retries=limit)

    call.delay("wide", 6)
    call.delay("narrow", None)
    assert (runs.count("wide"), runs.count("narrow")) == (7, 2)


def test_retry_with_throw_false_returns_the_retry(app: Celery) -> None:
    """As in Celery; and an exception raised after it is not retried a second time."""
    returned: list[Any] = []

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def call(self: Task) -> None:
        if self.request.retries == 0:
            returned.append(self.retry(countdown=0, throw=False))
            raise TimeoutError("after the fact")

    result = call.delay()
    assert isinstance(returned[0], Retry)
    assert isinstance(result.result, TimeoutError)


def test_steering_tasks_of_celery_are_left_alone() -> None:
    """With our class as the app's task class, Celery's own chord and cleanup tasks behave as ever."""
    app = Celery("all", broker="memory://", backend="cache+memory://", task_cls=RecoverableTask, set_as_current=False)
    unlock = app.tasks["celery.chord_unlock"]
    assert isinstance(unlock, RecoverableTask)
    assert unlock._is_plain({})
    assert not app.tasks["celery.starmap"]._is_plain({"task": {"task": "celery.starmap"}})


def test_task_cls_by_path() -> None:
    """`Celery(task_cls="celery_recovery:RecoverableTask")` is enough."""
    app = Celery("path", broker="memory://", task_cls="celery_recovery:RecoverableTask", set_as_current=False)

    @app.task(shared=False)
    def fine() -> str:
        return "fine"

    assert isinstance(app.tasks[fine.name], RecoverableTask)


def test_chains_in_eager_mode(app: Celery) -> None:
    """Canvas works eagerly too."""

    @app.task(shared=False, base=RecoverableTask)
    def add(x: int, y: int) -> int:
        return x + y

    assert chain(add.s(1, 2), add.s(3)).apply().get() == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policies": {"netwrok": 3}}, "netwrok"),
        ({"policy": {"max_attempts": 0}}, "max_attempts"),
        ({"recovery_on_dead_letter": "maybe"}, "recovery_on_dead_letter"),
        ({"policies": {"network": {"base_delay": -1}}}, "base_delay"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_when_the_task_is_bound(
    app: Celery, options: dict[str, Any], message: str
) -> None:
    """Not at the first failure, and the task is named."""

    @app.task(shared=False, base=RecoverableTask, name="shop.charge", **options)
    def charge() -> None: ...

    with pytest.raises(ConfigurationError, match=message) as refused:
        app.finalize()
    assert "shop.charge" in str(refused.value)


def test_wiring_happens_once_and_reads_no_setting() -> None:
    """Any number of tasks, one hook; the app may be configured later."""
    app = Celery("late", set_as_current=False)
    app.config_from_object("no.such.module.yet")
    for n in range(3):
        app.task(base=RecoverableTask, name=f"t{n}", shared=False)(lambda: None)
    recovery = Recovery.of(app)
    assert recovery is Recovery.of(app)
    assert len([step for step in app.steps["worker"] if "Intake" in str(step)]) <= 1


def test_unknown_settings_are_refused_with_the_nearest_name() -> None:
    """A misspelt setting would otherwise be a default in disguise."""
    app = Celery("misspelt", broker="memory://", set_as_current=False)
    app.conf.update(recovery_publish_timout=3)
    with pytest.raises(ConfigurationError, match="recovery_publish_timeout"):
        assert Recovery.of(app).settings


def test_settings_may_come_from_a_namespaced_object() -> None:
    """`CELERY_RECOVERY_…` of a Django settings module works like any other Celery setting."""

    class DjangoSettings:
        CELERY_BROKER_URL = "redis://localhost/0"
        CELERY_RECOVERY_PUBLISH_TIMEOUT = 7

    app = Celery("django", set_as_current=False)
    app.config_from_object(DjangoSettings, namespace="CELERY")
    assert Recovery.of(app).settings.publish_timeout == 7


def test_control_exceptions_are_understood_by_what_is_behind_them(app: Celery) -> None:
    """`raise Quarantine(…) from exc` is filed under what `exc` was."""
    recovery = Recovery.of(app)

    @app.task(shared=False, base=RecoverableTask)
    def call() -> None: ...

    alone = recovery.classified(Quarantine("fraud"), call)
    assert alone.error_type is ErrorType.BUSINESS_LOGIC
    behind = Snooze(5)
    behind.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert recovery.classified(behind, call).error_type is ErrorType.NETWORK


@pytest.mark.parametrize(
    ("old", "given", "merged"),
    [
        (((1, 2), {"c": 3}), (None, None), ((1, 2), {"c": 3})),
        (((1, 2), {"c": 3}), ((9,), None), ((9,), {"c": 3})),
        (((), {"a": 1, "b": 2}), ((9,), None), ((9,), {"b": 2})),
        (((1, 2), {}), (None, {"b": 7}), ((1, 7), {})),
        (((1,), {"b": 2}), (None, {"b": 7}), ((1,), {"b": 7})),
        (((1, 2), {"c": 3}), ((), {}), ((), {})),
    ],
)
def test_arguments_of_a_retry_are_merged_as_in_celery(old: Any, given: Any, merged: Any) -> None:
    """Those given win; of the old ones, what does not conflict stays."""

    def run(a: Any, b: Any = None, c: Any = None) -> None: ...

    class Request:
        args, kwargs = old

    call = merged_call(run, Request(), *given)
    assert (tuple(call.args), call.kwargs) == merged


def test_a_policy_object_and_its_short_forms_agree(app: Celery) -> None:
    """`policy=3` is three attempts, whatever the error."""

    @app.task(shared=False, base=RecoverableTask, policy=RetryPolicy(max_attempts=3))
    def long_form() -> None: ...

    @app.task(shared=False, base=RecoverableTask, policy=3)
    def short_form() -> None: ...

    recovery = Recovery.of(app)
    info = recovery.classifier.classify(TimeoutError())
    attempts = {recovery.policies_of(task).for_error(None, info).retry.max_attempts for task in (long_form, short_form)}
    assert attempts == {3}


@pytest.mark.parametrize(
    "header", ["garbage", 7, [], {"replay": "x"}, {"replay": {"token": 1}}, {"attempts": 5, "origin": None}]
)
def test_a_garbled_header_is_no_obstacle(app: Celery, header: Any) -> None:
    """Whatever another client put into our header: the task runs, fails, retries as if it were not there."""
    runs: list[int] = []

    @app.task(shared=False, base=RecoverableTask, bind=True, policies={"network": 2})
    def call(self: Task) -> str:
        self.request.recovery = header
        runs.append(1)
        if len(runs) < 2:
            raise TimeoutError
        return "done"

    assert call.apply(headers={"recovery": header}).get() == "done"
    assert len(runs) == 2


def test_our_own_mistake_does_not_hide_the_users_exception(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    """A classifier that breaks costs the recovery, not the exception."""

    class Broken(ErrorClassifier):
        def classify(self, exc: BaseException, **_: Any) -> Any:
            raise RuntimeError("the classifier is broken")

    app.conf.recovery_classifier = Broken

    @app.task(shared=False, base=RecoverableTask)
    def call() -> None:
        raise KeyError("the user's")

    assert isinstance(call.delay().result, KeyError)
    assert "the classifier is broken" in caplog.text


def test_what_a_classifier_says_can_be_written_down(app: Celery) -> None:
    """One of the user's own may put anything into the context of an error; a letter holds what JSON can say."""

    class Chatty(ErrorClassifier):
        def classify(self, exc: BaseException, **known: Any) -> Any:
            return replace(super().classify(exc, **known), context={"order": 7, "connection": object(), b"key": {1}})

    app.conf.recovery_classifier = Chatty

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def call(self: Task) -> dict[str, Any]:
        self.request.recovery_running = 0.0
        return Recovery.of(app).understand(self, self.request, KeyError("x")).info.context

    context = call.delay().get()
    assert context["order"] == 7
    assert "object" in context["connection"]
    assert json.loads(json.dumps(context)) == context


def test_what_becomes_of_a_failure_is_logged_once_with_its_context(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    """One record per decision, with a stable `action` and everything one would ask next."""

    @app.task(shared=False, base=RecoverableTask, name="shop.charge", policies={"network": 2})
    def charge() -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    charge.apply(task_id="1")
    records = [record.__dict__ for record in caplog.records if record.name == "celery_recovery"]
    assert [(record["action"], record["reason"], record["attempt"]) for record in records] == [
        ("retry", "transient", 1),
        ("fail", "exhausted", 2),
    ]
    expected = {"task": "shop.charge", "task_id": "1", "max_attempts": 2, "error_type": "network", "retryable": True}
    assert expected.items() <= records[0].items()
    assert records[0]["delay"] > 0
    assert records[0]["rule"]


def test_self_retry_without_any_policy_has_celerys_own_limit(app: Celery) -> None:
    """Code written for Celery's default of 3 retries gets 4 attempts, whatever the kind of error."""
    runs: list[str] = []

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def call(self: Task, name: str) -> None:
        runs.append(name)
        raise self.retry(exc=KeyError("x") if name == "exc" else None, countdown=0)

    call.delay("exc")
    call.delay("none")
    assert (runs.count("exc"), runs.count("none")) == (4, 4)


def test_an_app_that_is_done_with_is_freed() -> None:
    """Signals belong to the process and must not keep our apps alive."""
    apps = []
    for n in range(5):
        made = Celery(f"a{n}", broker="memory://", set_as_current=False)
        made.task(shared=False, base=RecoverableTask, name="t")(print)
        made.finalize()
        made.close()
        apps.append(weakref.ref(made))
        del made
    gc.collect()
    assert sum(app() is not None for app in apps) <= 1


def test_a_policy_of_no_retries_leaves_those_that_the_task_asks_for(app: Celery) -> None:
    """A policy about what is retried by itself is no word against `self.retry()` in the own code of a task."""
    app.conf.recovery_policies = {"unknown": 1}
    runs: list[str] = []

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def call(self: Task, by_hand: bool) -> None:
        runs.append("by hand" if by_hand else "by itself")
        if by_hand:
            raise self.retry(exc=LookupError("x"), countdown=0)
        raise LookupError("x")

    call.delay(True)
    call.delay(False)
    assert (runs.count("by hand"), runs.count("by itself")) == (4, 1)


def test_settings_in_upper_case_are_read_too() -> None:
    """As old Celery configurations have it."""
    app = Celery("upper", broker="memory://", set_as_current=False)
    app.conf.update(RECOVERY_KEY_PREFIX="shop")
    assert Recovery.of(app).settings.key_prefix == "shop"


def test_only_our_own_settings_are_read() -> None:
    """Names of others that happen to contain ours are none of our business, in upper case or lower."""
    app = Celery("others", broker="memory://", set_as_current=False)
    app.conf.update(PASSWORD_RECOVERY_TIMEOUT=3, disaster_recovery_mode="hot")
    assert Recovery.of(app).settings.publish_timeout == 30


def test_an_eager_snooze_fails(app: Celery) -> None:
    """There is no later in eager mode, and "now, again" would never end."""

    @app.task(shared=False, base=RecoverableTask)
    def call() -> None:
        raise Snooze(60)

    assert isinstance(call.delay().result, Snooze)


def test_the_last_word_counts(app: Celery) -> None:
    """A task that gives up after its retries may still say what becomes of it."""
    seen: list[str] = []

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def call(self: Task) -> None:
        try:
            raise self.retry(exc=KeyError("x"), max_retries=0)
        except KeyError as exc:
            seen.append("gave up")
            raise Discard("not needed any more") from exc

    assert isinstance(call.delay().result, Discard)
    assert seen == ["gave up"]


@pytest.mark.parametrize(
    ("broker", "backend", "found"),
    [
        ("redis://a/1;redis://b/1", None, "redis://a/1"),
        (["amqp://x", "amqp://y"], "redis://r/3", "redis://r/3"),
        ("redis+socket:///tmp/redis.sock", None, "unix:///tmp/redis.sock"),
        ("amqp://x", "rpc://", None),
    ],
)
def test_where_letters_are_kept_by_default(broker: Any, backend: str | None, found: str | None) -> None:
    """In the broker or the result backend, whichever is Redis; of several brokers in the first."""
    app = Celery("x", broker=broker, backend=backend, set_as_current=False)
    client = Recovery.of(app).redis
    kwargs = client.connection_pool.connection_kwargs if client else {}
    where = kwargs.get("path") or kwargs.get("host")
    assert where == (found and (found[7:] if found.startswith("unix") else found.split("/")[2]))


def test_each_app_joins_its_own_batches() -> None:
    """The task that joins the parts of a batch belongs to the app that fanned out, whichever app came last."""

    def imported() -> None: ...

    apps = [Celery(name, broker="memory://", set_as_current=False) for name in ("first", "second")]
    for app in apps:
        app.task(shared=False, base=RecoverableTask, name="imported")(imported)
        app.finalize()
    assert [app.tasks[JOINT].app for app in apps] == apps
