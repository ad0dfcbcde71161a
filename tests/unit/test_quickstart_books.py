"""The demo's books: they notice every kind of order that is not where it is said to be."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"


@pytest.fixture
def books(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `books` of the example."""
    monkeypatch.syspath_prepend(QUICKSTART)
    import books

    return books


@pytest.fixture
def orders(books: ModuleType, tmp_path: Path) -> list[Any]:
    """Two submitted orders of one product each."""
    from orders import Order

    return [
        books.Submitted(Order(name, tmp_path / name, 1, None), f"{name}-p", (f"{name}-r",), f"{name}-c", f"{name}-s")
        for name in ("one", "two")
    ]


def shipped(submitted: Any, retries: int = 0) -> dict[str, dict[str, Any]]:
    return {task_id: {"status": "SUCCESS", "retries": retries} for task_id in submitted.ids}


def effects(books: ModuleType, *orders: Any, times: int = 1) -> dict[str, dict[tuple[str, str], Any]]:
    paths = ("/stock", "/payments", "/shipments")
    return {one.order.id: {(path, one.order.id): books.Effect(times, times) for path in paths} for one in orders}


def test_shipped_and_dead_lettered_orders_balance(books: ModuleType, orders: list[Any]) -> None:
    """One shipped after a retry, one waiting as a letter: two ends, nothing open."""
    one, two = orders
    found = books.Books.balance(orders, shipped(one, retries=1), effects(books, one), {two.charge: "network"})
    assert found.balanced
    assert found.ends == {"one": "recovered", "two": "dead network"}


def test_an_order_that_is_nowhere_is_open(books: ModuleType, orders: list[Any]) -> None:
    """Neither shipped nor a letter: the books do not balance."""
    one, two = orders
    found = books.Books.balance(orders, shipped(one), effects(books, one), {})
    assert found.ends[two.order.id] == "open"
    assert not found.balanced


def test_a_shipment_that_never_took_place_is_a_problem(books: ModuleType, orders: list[Any]) -> None:
    """Celery says SUCCESS and the service knows nothing of it."""
    one, two = orders
    results = {**shipped(one), **shipped(two)}
    found = books.Books.balance(orders, results, effects(books, one), {})
    assert not found.balanced
    assert any("two" in problem and "/shipments" in problem for problem in found.problems)


def test_an_order_with_two_ends_is_a_problem(books: ModuleType, orders: list[Any]) -> None:
    """Shipped, and its letter still waits."""
    one, _ = orders
    found = books.Books.balance([one], shipped(one), effects(books, one), {one.ship: "network"})
    assert not found.balanced


def test_a_strange_letter_is_a_problem(books: ModuleType, orders: list[Any]) -> None:
    """A letter for a task that nobody submitted."""
    one, _ = orders
    found = books.Books.balance([one], shipped(one), effects(books, one), {"somebody-else": "network"})
    assert not found.balanced


def test_what_took_place_twice_is_counted(books: ModuleType, orders: list[Any]) -> None:
    """Three effects, each done two times."""
    one, _ = orders
    found = books.Books.balance([one], shipped(one), effects(books, one, times=2), {})
    assert found.twice == 3


def test_a_replayed_order_is_told_from_a_recovered_one(books: ModuleType, orders: list[Any]) -> None:
    """Dead in the first books, shipped in the second: replayed; its earlier end counts."""
    one, two = orders
    first = books.Books.balance(orders, shipped(one), effects(books, one), {two.ship: "network"})
    results = {**shipped(one), **shipped(two)}
    second = books.Books.balance(orders, results, effects(books, one, two), {}, before=first)
    assert second.ends == {"one": "first try", "two": "replayed"}
    assert second.balanced
