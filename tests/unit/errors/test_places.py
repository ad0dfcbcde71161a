"""Where it happened: callers count, and what only carries a call on does not."""

from __future__ import annotations

import asyncio
import functools
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import tenacity
from billiard.exceptions import SoftTimeLimitExceeded

from celery_recovery.errors import classify
from tests.unit.errors.sources import caught, module

PATH = "/srv/app/shop/tasks.py"
SHOP = """
    class Odd(Exception):
        pass

    def fetch(number):
        raise Odd(f"number {number} is odd")

    def load(number):
        return fetch(number)

    def charge(number):
        return load(number)

    def refund(number):
        return load(number)

    def work(number):
        return charge(number)
"""
WRAPPERS = """
    from functools import wraps

    def timed(fn):
        @wraps(fn)
        def timed_call(*args, **kwargs):
            return fn(*args, **kwargs)
        return timed_call

    def narrow(fn):
        def one_argument(number):
            return fn(number)
        return one_argument

    class Guarded:
        def __init__(self, target):
            self.target = target

        def __call__(self, *args):
            return self.target(*args)

    def run(job, *args):
        return _run(job, args)

    def _run(job, args):
        return job(*args)

    class Bus:
        def __init__(self, handler):
            self.handlers = {"paid": handler}

        def emit(self, *args):
            self.handlers["paid"](*args)

    class Unwanted(Exception):
        pass

    class PaymentTimeout(Exception):
        pass

    def wrapped_in(cls):
        def decorate(fn):
            def call(*args):
                try:
                    return fn(*args)
                except Exception as exc:
                    raise cls("it did not work") from exc
            return call
        return decorate
"""


def name_of(exc):
    return classify(exc, task="shop.work").fingerprint


@pytest.fixture
def shop():
    return module(PATH, SHOP, "shop.tasks")


@pytest.fixture
def wrappers():
    return module("/srv/app/shop/jobs.py", WRAPPERS, "shop.jobs")


def test_callers_count(shop):
    """One helper, two callers: two bugs."""
    assert name_of(caught(shop["charge"], 1)) != name_of(caught(shop["refund"], 1))


@pytest.mark.parametrize("name", ["timed", "narrow", "Guarded"])
def test_decorators_do_not_count(shop, wrappers, name):
    """Whatever a decorator calls what it returns, around the job or around one of its functions."""
    plain = name_of(caught(shop["work"], 1))
    assert name_of(caught(wrappers[name](shop["work"]), 1)) == plain
    for inner in ("charge", "load", "fetch"):
        decorated = module(PATH, SHOP, "shop.tasks")
        decorated[inner] = wrappers[name](decorated[inner])
        assert name_of(caught(decorated["work"], 1)) == plain


def test_carriers_do_not_count(shop, wrappers):
    """Runners, dispatchers, pools and event loops are handed what they call."""
    job = shop["charge"]
    ways = [
        lambda: wrappers["run"](job, 1),
        lambda: wrappers["Bus"](job).emit(1),
        lambda: wrappers["run"](functools.partial(job, 1)),
        lambda: wrappers["run"](lambda: job(1)),
        lambda: _in_thread(job, 1),
        lambda: asyncio.run(_in_loop(job, 1)),
        lambda: tenacity.retry(stop=tenacity.stop_after_attempt(2), reraise=True)(job)(1),
    ]
    assert {name_of(caught(way)) for way in ways} == {name_of(caught(job, 1))}


def _in_thread(job, *args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(job, *args).result()


async def _in_loop(job, *args):
    return await asyncio.get_running_loop().run_in_executor(None, job, *args)


def test_wrappers_do_not_count(shop, wrappers):
    """What was raised from the root is the root's bug: by opaque classes, telling ones, retry libraries, groups."""
    job = shop["charge"]
    ways = [
        wrappers["wrapped_in"](wrappers["Unwanted"])(job),
        wrappers["wrapped_in"](wrappers["PaymentTimeout"])(job),
        wrappers["wrapped_in"](ValueError)(wrappers["wrapped_in"](wrappers["PaymentTimeout"])(job)),
        tenacity.retry(stop=tenacity.stop_after_attempt(2))(job),
    ]
    if sys.version_info >= (3, 11):
        group = module("/srv/app/shop/groups.py", GROUPS, "shop.groups")
        ways += [group["grouped"](job), group["grouped"](ways[1]), ways[0]]
        ways.append(wrappers["wrapped_in"](ValueError)(group["grouped"](group["grouped"](job))))
    assert {name_of(caught(way, 1)) for way in ways} == {name_of(caught(job, 1))}


GROUPS = """
    def grouped(fn):
        def call(*args):
            try:
                return fn(*args)
            except Exception as exc:
                raise ExceptionGroup("some failed", [exc])
        return call
"""


def test_what_was_being_handled_does_not_count():
    """An error in a handler is one bug, whatever was handled."""
    source = """
        def act(exc):
            try:
                raise exc
            except Exception:
                note({})

        def note(log):
            log["lines"].append(1)
    """
    shop = module(PATH, source)
    assert name_of(caught(shop["act"], ValueError("x"))) == name_of(caught(shop["act"], OSError(5, "y")))


def test_what_is_quoted_counts():
    """An exception whose text a wrapper's message quotes is its cause, even if it does not say `from`."""
    source = """
        class Failed(Exception):
            pass

        def read(text):
            return int(text)

        def quoting(text):
            try:
                return read(text)
            except ValueError as exc:
                raise Failed(f"{text}: {exc}")

        def hiding(text):
            try:
                return read(text)
            except ValueError as exc:
                raise Failed(f"it said {exc}") from None

        def telling(text):
            try:
                return read(text)
            except ValueError:
                raise Failed("no number")
    """
    bare = "\n        def {}(text):\n            return read(text)\n"
    shop = module(PATH, source)
    for name in ("quoting", "hiding"):
        plain = module(PATH, source.replace(f"def {name}", "def old") + bare.format(name))
        assert name_of(caught(shop[name], "x")) == name_of(caught(plain[name], "y"))
    assert name_of(caught(shop["telling"], "x")) != name_of(caught(shop["quoting"], "x"))


def test_users_of_a_dispatcher_count():
    """Who is not handed the function, but asks for it by name, is a caller."""
    dispatcher = module("/srv/app/shop/checks.py", CHECKS, "shop.checks")
    source = "def order(value): return check('positive', value)\n\ndef refund(value): return check('positive', value)\n"
    shop = module(PATH, source, "shop.tasks", check=dispatcher["check"])
    assert name_of(caught(shop["order"], -1)) != name_of(caught(shop["refund"], -1))


CHECKS = """
    def _positive(value):
        if value <= 0:
            raise ValueError("not positive")

    CHECKS = {"positive": _positive}

    def check(name, value):
        return CHECKS[name](value)
"""


def test_statements_count():
    """Two lines of one function that fail alike are two bugs; where they stand in the file is no matter."""
    source = """
        def read(row):
            quantity = int(row["quantity"])
            price = int(row["price"])
            return quantity * price
    """
    one, two = module(PATH, source), module(PATH, source.replace("price = ", "# the price\n            price = "))
    quantity, price = {"quantity": "x", "price": "1"}, {"quantity": "1", "price": "x"}
    assert name_of(caught(one["read"], quantity)) != name_of(caught(one["read"], price))
    assert name_of(caught(one["read"], price)) == name_of(caught(two["read"], price))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code does not know where an expression ends")
def test_a_statement_may_be_wrapped():
    """The same statement, laid out on several lines, is the same."""
    one = "def pay(order):\n    raise ValueError(f'order {order.number} of {order.owner} is bad')\n"
    two = one.replace("(f'", "(\n        f'").replace(" of ", " '\n        f'of ").replace("bad')", "bad'\n    )")
    order = type("Order", (), {"number": 7, "owner": "ann"})
    assert name_of(caught(module(PATH, one)["pay"], order)) == name_of(caught(module(PATH, two)["pay"], order))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="functions do not know their class")
def test_classes_count():
    """Methods of the same name are told apart by their class."""
    source = """
        class Reader:
            def run(self, text):
                return self.parse(text)

        class Csv(Reader):
            def parse(self, text):
                return int(text)

        class Xml(Reader):
            def parse(self, text):
                return int(text)
    """
    shop = module(PATH, source)
    assert name_of(caught(shop["Csv"]().run, "x")) != name_of(caught(shop["Xml"]().run, "x"))


def test_layers_of_one_module_are_no_callers():
    """However many functions a client consists of, who called it counts."""
    client = module("/srv/app/shop/client.py", CLIENT, "shop.client")
    callers = module("/srv/app/shop/tasks.py", CALLERS, "shop.tasks", get=client["get"])
    assert name_of(caught(callers["charge"])) != name_of(caught(callers["refund"]))


CLIENT = """
    def get(url): return _get(url)
    def _get(url): return _send(url)
    def _send(url): return _checked(url)
    def _checked(url): raise RuntimeError("no")
"""
CALLERS = """
    def charge(): return get("/charge")
    def refund(): return get("/refund")
"""


def test_a_frame_high_up_does_not_count(shop):
    """A new function above the third nearest is the same bug."""
    assert name_of(caught(shop["charge"], 1)) == name_of(caught(shop["work"], 1))


@pytest.mark.parametrize(
    "loop", ["[half(one) for one in many]", "list(half(one) for one in many)", "list(map(half, many))"]
)
def test_comprehensions_do_not_count(loop):
    """A loop may become a comprehension, which is a function before Python 3.12 and none since."""
    plain = "def run(many):\n    for one in many:\n        half(one)\n\ndef half(one):\n    return 1 / one\n"
    other = f"def run(many):\n    return {loop}\n\ndef half(one):\n    return 1 / one\n"
    assert name_of(caught(module(PATH, plain)["run"], [1, 0])) == name_of(caught(module(PATH, other)["run"], [0]))


def test_recursion_by_way_of_others_counts_once():
    """How often functions called each other changes nothing."""
    source = """
        def even(left):
            return odd(left - 1) if left else fail()

        def odd(left):
            return even(left - 1) if left else fail()

        def fail():
            raise ValueError("bottom")
    """
    shop = module(PATH, source)
    assert len({name_of(caught(shop["even"], depth)) for depth in (2, 4, 12, 60)}) == 1


def test_endless_recursion_is_one_bug():
    """Where the stack ended is chance."""
    source = """
        def deeper(left):
            return deeper(left - 1) if left else ping(0)

        def ping(count):
            return pong(count + 1)

        def pong(count):
            return ping(count + 1) + len(str(count))
    """
    shop = module(PATH, source)
    assert len({name_of(caught(shop["deeper"], depth)) for depth in range(6)}) == 1


def test_a_soft_time_limit_is_one_bug():
    """Where the clock struck is chance, too; the job counts."""
    source = """
        def charge(step):
            one(step)

        def refund(step):
            one(step)

        def one(step):
            if step == 1:
                raise stop()
            two()

        def two():
            raise stop()
    """
    shop = module(PATH, source, stop=SoftTimeLimitExceeded)
    assert name_of(caught(shop["charge"], 1)) == name_of(caught(shop["charge"], 2))
    assert name_of(caught(shop["charge"], 1)) != name_of(caught(shop["refund"], 1))


SITE = "/venv/lib/python3.11/site-packages"


def test_an_installed_application_is_the_tasks_package():
    """Code that pip installed is the application's if the task is named after its package."""
    installed = module(f"{SITE}/shop/tasks.py", SHOP, "shop.tasks")
    checked_out = module(PATH, SHOP, "shop.tasks")
    assert name_of(caught(installed["charge"], 1)) == name_of(caught(checked_out["charge"], 1))
    assert name_of(caught(installed["charge"], 1)) != name_of(caught(installed["refund"], 1))


def test_an_installed_application_is_what_was_entered_first():
    """Without such a name, it is what was called first, whatever library it called then."""
    library = module(f"{SITE}/client/api.py", "def get(url):\n    raise ValueError('no')\n", "client.api")
    source = "def charge():\n    return get('a')\n\ndef refund():\n    return get('b')\n"
    shop = module(f"{SITE}/shop/tasks.py", source, "shop.tasks", get=library["get"])
    found = []
    for name in ("charge", "refund"):
        exc = caught(shop[name])
        found.append(classify(exc.with_traceback(exc.__traceback__.tb_next)).fingerprint)  # without this file's frame
    assert found[0] != found[1]
