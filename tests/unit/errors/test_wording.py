"""Messages are compared without what is variable in them."""

from __future__ import annotations

import pytest

from celery_recovery.errors import classify
from celery_recovery.errors.wording import normal_message
from tests.unit.errors.sources import caught, module


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("order 17 not found", "order 99123 not found"),
        ("user 3f2504e0-4f89-11d3-9a0c-0305e82c3301 gone", "user 9b2d7c1a-0000-41d3-8a0c-feedfacecafe gone"),
        ("at 0x7f3a5c0dbeef", "at 0x55d0"),
        ("commit deadbee1 lost", "commit 0f00ba4 lost"),
        ("no 'apple' in 'basket'", "no 'pear' in 'box of wood'"),
        ('no "apple"', 'no "pear and plum"'),
        ("mail to ann@example.com bounced", "mail to bob.b@mail.example.org bounced"),
        ("GET https://a.example/x?id=1&n=bob failed", "GET http://b.example:8080/y/z failed"),
        ("connect to 10.0.0.1:5432 refused", "connect to 192.168.7.9:6543 refused"),
        ("connect to fe80::1ff:fe23:4567:890a refused", "connect to fe80::2 refused"),
        ("cannot open /var/lib/app/a.csv now", "cannot open /tmp/b/c.txt now"),
        (r"cannot open C:\data\a.csv now", r"cannot open D:\x.csv now"),
        ("since 2024-01-01T10:00:00Z down", "since 2026-11-23 18:05:01.123 down"),
        ("ids 1, 2, 3 missing", "ids 4 missing"),
        ("took 3.5 s", "took 1200 s"),
        ("worker-12 lost", "worker-7 lost"),
        ("key 'a" + "b" * 600, "key 'c" + "d" * 700),
    ],
)
def test_variable_parts_do_not_count(one, two):
    """Messages that differ in ids, addresses, times and quotations are the same message."""
    assert normal_message(one) == normal_message(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("order 17 not found", "user 17 not found"),
        ("connection refused", "connection reset"),
        ("can't read it", "can't write it"),
        ("no 'apple' in stock", "no 'apple' on offer"),
    ],
)
def test_words_count(one, two):
    """Messages that differ in words are different."""
    assert normal_message(one) != normal_message(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("bad record {'id': 1}", "bad record {'id': 'x', 'tags': ['a', None], 'more': {'deep': True}}"),
        ("unknown ids [1, 2] of 4", "unknown ids ['a'] of 4"),
        ("unknown ids []", "unknown ids [1]"),
        ("not a package: b'PK\\x00'", 'not a package: b"it\'s"'),
        ("<Order object at 0x7f3a> is closed", "<Order object at 0x55d0> is closed"),
        ("<Slot Ann on Monday> is taken", "<Slot Bob Li on Friday> is taken"),
        ("since Tue, 03 Feb 2026 down", "since Sunday, 21 November 2027 down"),
        ("value None is bad", "value 17 is bad"),
        ("value 'x' is bad", "value True is bad"),
        ("Key (email)=(ann@example.com) exists", "Key (email)=(bob) exists"),
        ("row (ann, x, 3) fails", "row (bob, y z, 4) fails"),
        ("took 3.5 s", "took nan s"),
        ("total: 7", "total:"),
    ],
)
def test_data_do_not_count(one, two):
    """Representations of data, values and names of days are variable, however long."""
    assert normal_message(one) == normal_message(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("f() takes 2 arguments (one missing)", "f() takes 2 arguments (one too many)"),
        ("[SSL: WRONG_VERSION] failed", "[SSL: CERTIFICATE_EXPIRED] failed"),
        ("<Order 17> is closed", "<Customer 17> is closed"),
    ],
)
def test_brackets_with_words_count(one, two):
    """What is in brackets is not always data."""
    assert normal_message(one) != normal_message(two)


NAMES = """
    class NotFound(Exception):
        def __init__(self, name):
            super().__init__(f"there is no customer called {name}")

    class Closed(Exception):
        text = "{owner} has closed the account"

        def __init__(self, owner):
            self.owner = owner

        def __str__(self):
            return self.text.format(owner=self.owner)

    NO_STOCK = "%s is out of stock"

    def fail(message):
        raise ValueError(message)

    def inserted(name): raise ValueError(f"user {name} not found")
    def percent(name): raise ValueError("user %s not found in %s" % (name, "shop"))
    def formatted(name): raise ValueError("user {0} not found".format(name))
    def added(name): raise ValueError("user " + name + " not found")
    def of_class(name): raise NotFound(name)
    def of_attribute(name): raise Closed(name)
    def of_module(name): raise ValueError(NO_STOCK % name)
    def helped(name): fail(f"user {name} not found")
    def told(reason): raise ValueError(f"payment failed: {reason}")
    def foreign(text): raise ValueError(text)
    def coded(text): raise type("ApiError", (Exception,), {"status_code": 503})(f"answered: {text}")
"""


def _print(name, argument):
    shop = module("/srv/app/shop.py", NAMES)
    return classify(caught(shop[name], argument)).fingerprint


@pytest.mark.parametrize(
    "how", ["inserted", "percent", "formatted", "added", "of_class", "of_attribute", "of_module", "helped"]
)
def test_names_need_no_quotation_marks(how):
    """What was filled in is told from the code's own words, wherever the code has its text."""
    names = ["ann", "Bob Smith", "O'Hara", "x@example.com", "emil-7", "Zoë", "a b c"]
    assert len({_print(how, name) for name in names}) == 1


def test_reasons_count():
    """What was filled in and says what went wrong is no name."""
    reasons = ["the card has expired", "permission denied", "connection timed out after 30 s", "7"]
    assert len({_print("told", reason) for reason in reasons}) == len(reasons)


def test_foreign_messages_count():
    """A message that the code has no word of is another's, and all of it may say what went wrong."""
    assert _print("foreign", "red alert") != _print("foreign", "green light")


def test_a_code_says_enough():
    """Beside a status, what a remote party answered does not count."""
    assert _print("coded", "upstream is busy") == _print("coded", "<h1>try later</h1>, we are down")


PARSING = """
    import json

    class LayoutParseError(Exception):
        pass

    def read(text):
        return json.loads(text)

    def own(text):
        raise LayoutParseError("too many columns" if text else "no columns")
"""


def test_a_parsers_complaint_does_not_count():
    """How malformed input is malformed is a matter of the input; what the application itself complains of is not."""
    feed = module("/srv/app/feed.py", PARSING)
    assert len({classify(caught(feed["read"], text)).fingerprint for text in ("", "{", "[1", '{"a"', "}")}) == 1
    assert len({classify(caught(feed["own"], text)).fingerprint for text in ("", "x")}) == 2


KEYS = """
    def total(order):
        return order["total"]["net"]

    def price(prices, sku):
        return prices[sku]

    def need(order, field):
        if field not in order:
            raise ValueError(f"missing field {field}")

    def check(order):
        need(order, "total")
        need(order, "customer")

    def city(customer):
        return customer.address.city

    def column(row, name):
        return getattr(row, name)
"""


def test_keys_of_the_code_count():
    """A quoted word that the code itself has is no data: two keys, two fields, two attributes are two bugs."""
    shop = module("/srv/app/shop.py", KEYS)
    address = type("Customer", (), {"address": None})
    for name, one, two in [
        ("total", {}, {"total": {}}),
        ("check", {}, {"total": 1}),
        ("city", None, address),
    ]:
        assert classify(caught(shop[name], one)).fingerprint != classify(caught(shop[name], two)).fingerprint


def test_keys_of_the_data_do_not_count():
    """A key or an attribute that the code was given is data."""
    shop = module("/srv/app/shop.py", KEYS)
    for name in ("price", "column"):
        prints = {classify(caught(shop[name], {}, key)).fingerprint for key in ("lamp", "wooden chair", "x9")}
        assert len(prints) == 1
