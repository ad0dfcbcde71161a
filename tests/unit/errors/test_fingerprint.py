"""The same bug has one fingerprint; different bugs have different ones."""

from __future__ import annotations

import re
import textwrap

import pytest

from celery_recovery.errors import classify
from celery_recovery.errors.functions import place_name
from tests.unit.errors.sources import caught, module

SHOP = """
    def helper(order):
        raise ValueError(f"order {order} is bad")

    def charge(order):
        helper(order)

    def refund(order):
        helper(order)
"""


def _print(call, *args, task="shop.charge") -> str:
    return classify(caught(call, *args), task=task).fingerprint


def test_its_form_is_version_and_sixteen_hex_digits():
    """Readers can tell the version."""
    assert re.fullmatch(r"2:[0-9a-f]{16}", classify(ValueError("x")).fingerprint)


def test_it_is_the_same_in_every_process():
    """Nothing of it depends on hash seeds or addresses."""
    assert classify(ValueError("order 7"), task="shop.charge").fingerprint == "2:1af284a4a33300a2"


def test_changing_ids_group():
    """The same line with another id is the same bug."""
    shop = module("/srv/app/shop.py", SHOP)
    assert _print(shop["charge"], 17) == _print(shop["charge"], 99)


def test_lines_may_shift():
    """Comments above the line change nothing."""
    one, two = module("/srv/app/shop.py", SHOP), module("/srv/app/shop.py", "# more\n" * 30 + textwrap.dedent(SHOP))
    assert _print(one["charge"], 1) == _print(two["charge"], 1)


def test_installations_group():
    """Where the code was installed changes nothing, with and without a module's name."""
    for name in (None, "app.shop"):
        one, two = module("/srv/app-17/app/shop.py", SHOP, name), module("/home/x/releases/9/app/shop.py", SHOP, name)
        assert _print(one["charge"], 1) == _print(two["charge"], 1)


def test_callers_of_one_helper_stay_apart():
    """Two bugs that fail in the same helper differ by who called it."""
    shop = module("/srv/app/shop.py", SHOP)
    assert _print(shop["charge"], 1) != _print(shop["refund"], 1)


def test_tasks_stay_apart():
    """The same failure in another task is another group."""
    shop = module("/srv/app/shop.py", SHOP)
    assert _print(shop["charge"], 1, task="a") != _print(shop["charge"], 1, task="b")


def test_codes_stay_apart():
    """Numbers leave the message; a status does not get lost with them."""
    assert classify(_status(503)).fingerprint != classify(_status(404)).fingerprint


def _status(status: int) -> Exception:
    return type("ApiError", (Exception,), {"status_code": status})(f"answered {status}")


def test_wrappers_group():
    """What is looked through does not count: bare, wrapped by an opaque class, or in a group, it is one bug."""
    source = """
        class Wrapper(Exception):
            pass

        def call():
            raise ConnectionResetError(104, "reset")

        def bare():
            call()

        def wrapped():
            try:
                call()
            except OSError as exc:
                raise Wrapper("it failed") from exc

        def task(inner):
            inner()
    """
    shop = module("/srv/app/shop.py", source.replace("bare", "attempt").replace("def wrapped", "def other"))
    wrapping = module("/srv/app/shop.py", source.replace("def wrapped", "def attempt"))
    bare = _print(shop["task"], shop["attempt"])
    assert _print(wrapping["task"], wrapping["attempt"]) == bare


def test_decorators_do_not_count():
    """A decorator around the function adds no frame that counts."""
    source = (
        SHOP
        + """
    def deco(func):
        def wrapper(*args):
            return func(*args)
        return wrapper

    decorated = deco(charge)
    """
    )
    shop = module("/srv/app/shop.py", source)
    assert _print(shop["decorated"], 1) == _print(shop["charge"], 1)


def test_recursion_counts_once():
    """How deep a recursion was changes nothing."""
    source = """
        def fall(left):
            if left == 0:
                raise ValueError("bottom")
            fall(left - 1)
    """
    shop = module("/srv/app/shop.py", source)
    assert _print(shop["fall"], 3) == _print(shop["fall"], 20)


def test_frames_of_libraries_do_not_count():
    """Another version of a library, with other frames, is the same bug."""
    library = """
        def get(left=0):
            return get(left - 1) if left else fail()

        def fail():
            raise ConnectionResetError(104, "reset")
    """
    other = library.replace("fail", "_do_fail")
    one = module("/venv/lib/python3.11/site-packages/client/api.py", library)
    two = module("/venv/lib/python3.11/site-packages/client/v2/api.py", other)
    calls = []
    for client in (one, two):
        shop = module("/srv/app/shop.py", "def charge(get):\n    get()\n")
        calls.append(_print(shop["charge"], client["get"]))
    assert calls[0] == calls[1]


def test_classes_stay_apart():
    """Another class is another failure."""
    assert classify(ValueError("x")).fingerprint != classify(KeyError("x")).fingerprint


def test_library_frames_count_where_there_are_no_others():
    """An error that never touched the application's code is told apart by the library's functions."""
    site = "/venv/lib/python3.11/site-packages/client/api.py"
    client = module(site, "def get():\n    raise ValueError('x')\n\ndef put():\n    raise ValueError('x')\n")
    frames = [caught(client[name]) for name in ("get", "put")]
    for exc in frames:  # drop this test's own frames
        exc.__traceback__ = exc.__traceback__.tb_next
    assert classify(frames[0]).fingerprint != classify(frames[1]).fingerprint


@pytest.mark.parametrize(
    ("filename", "module", "name"),
    [
        ("/srv/app-17/shop/tasks.py", "shop.tasks", "shop.tasks:run"),
        ("/srv/app-17/shop/__init__.py", "shop", "shop:run"),
        ("/srv/app-17/shop/tasks.py", "__main__", "tasks:run"),
        ("/srv/app-17/shop/tasks.py", "", "tasks:run"),
        (r"C:\app\shop\tasks.py", "shop.tasks", "shop.tasks:run"),
        ("<string>", "__main__", "<string>:run"),
    ],
)
def test_places_are_named_bymodule(filename, module, name):
    """The module's dotted name where it fits the file, else the file's own name."""
    assert place_name(filename, module, "run") == name


def test_a_traceback_of_python_only_is_library():
    """Python's own frames are never the application's: the nearest that is not is where it happened."""
    shop = module("/srv/app/shop.py", "import json\n\ndef read(text):\n    return json.loads(text)\n")
    cut, empty = caught(shop["read"], '{"a": 1'), caught(shop["read"], "")
    assert classify(cut).frames != classify(empty).frames
    assert classify(cut).fingerprint == classify(empty).fingerprint
