"""Items of batches on the command line: found by their parent, put right, and a batch that is followed."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from celery_recovery import Filter, Letter, Recovery
from celery_recovery.batch.item import BatchHeader, Item, letter_id
from celery_recovery.batch.progress import Progress
from celery_recovery.checkpoint import Checkpoint, Run
from tests.integration.jobs_client import Jobs
from tests.integration.test_cli import Here
from tests.letters import letter as made_letter

pytestmark = pytest.mark.redis


@pytest.fixture
def here(redis_jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(redis_jobs)
    here.capsys = capsys
    return here


def item(here: Here, position: int, value: Any, parent: str = "4711") -> str:
    """The id of a letter of this item."""
    header = BatchHeader(parent=parent, name="1", items=(Item.of(position, f"row-{position}", value),))
    one = replace(made_letter(letter_id(parent, "1", 0, position)), batch=header.to_dict())
    here.jobs.dead_letters.store.add(one)
    return one.id


def value_of(here: Here, letter: str) -> Any:
    found = here.jobs.dead_letters.get(letter).batch_header
    assert found is not None
    return found.items[0].load()


def test_listed_under_the_parent(here: Here) -> None:
    ids = {item(here, 3, {"a": 1}), item(here, 4, {"a": 2})}
    item(here, 3, {"a": 1}, parent="4712")
    listed = json.loads(here("dlq", "list", "--parent", "4711", "--json").output)["letters"]
    assert {one["id"] for one in listed} == ids
    assert {one["batch"]["parent"] for one in listed} == {"4711"}
    here("dlq", "list", "--parent", "nobody", code=1)
    shown = here("dlq", "show", listed[0]["id"]).output
    assert '{"a": ' in shown
    assert "of 4711" in shown


def test_edited(here: Here) -> None:
    """The change is shown, asked about, and made."""
    one, other = item(here, 3, {"price": "1,5", "count": 2}), item(here, 4, {"price": "x", "count": 3})
    words = ("dlq", "edit", "--parent", "4711", "--set", "item.price=1.50", "--set", "item.count=7")
    told = here(*words, "--dry-run").output
    assert '- {"price": "1,5", "count": 2}' in told
    assert '+ {"price": "1.50", "count": 7}' in told
    assert "Dry run: 2 letters would be edited." in told
    assert value_of(here, one)["price"] == "1,5"
    here(*words, code=2)  # nobody to ask
    result = json.loads(here(*words, "--yes", "--json").output)
    assert (result["selected"], result["done"], result["dry_run"]) == (2, 2, False)
    assert value_of(here, one) == value_of(here, other) == {"price": "1.50", "count": 7}
    here("dlq", "edit", one, "--set", "item.price:=2.25", "--yes")
    assert value_of(here, one)["price"] == 2.25
    here("dlq", "edit", one, "--set", 'item={"price": 3}', "--yes", "--note", "by phone")
    assert value_of(here, one) == {"price": 3}
    letter = here.jobs.dead_letters.get(one)
    assert (letter.edits, letter.note) == (3, "by phone")


@pytest.mark.parametrize(("change", "why"), [
    ("item.lines.7.sku=1", "--set: expected a place that the item has; there is no '7', got 'item.lines.7.sku'"),
    ("price=1", "item.FIELD=VALUE, item=VALUE, or := for JSON, got 'price=1'"),
    ("item.price", "item.FIELD=VALUE, item=VALUE, or := for JSON, got 'item.price'"),
    ("item.price:={", "--set: expected JSON, got '{'"),
])  # fmt: skip
def test_a_change_that_does_not_fit(here: Here, change: str, why: str) -> None:
    """It names what was expected; no letter is changed."""
    one = item(here, 3, {"lines": [{"sku": 1}]})
    assert (
        why in here("dlq", "edit", "--parent", "4711", "--set", "item.note=x", "--set", change, "--yes", code=2).errors
    )
    assert value_of(here, one) == {"lines": [{"sku": 1}]}


def test_a_letter_of_a_whole_task_has_no_item(here: Here) -> None:
    here.jobs.dead_letters.store.add(made_letter("5"))
    assert (
        "expected a letter of one item of a batch, got '5'"
        in here("dlq", "edit", "5", "--set", "item=1", "--yes", code=2).errors
    )


def test_changed_meanwhile(here: Here) -> None:
    """Of two that change the same letter, the second is told."""
    one = item(here, 3, 1)
    store = here.jobs.dead_letters.store
    read = here.jobs.dead_letters.get(one)
    assert store.edit(read) == "edited"
    assert store.edit(read) == "changed"
    here.jobs.dead_letters.discard([one])
    assert store.edit(here.jobs.dead_letters.get(one)) == "passed"
    assert store.edit(replace(read, id="nobody")) == "unknown"


def test_what_is_finished_leaves_no_index(here: Here) -> None:
    """The index of a parent goes with its letters."""
    one = item(here, 3, 1)
    store = here.jobs.dead_letters.store
    assert store.count(Filter(parent=("4711",))) == 1
    store.max_age = 0
    here.jobs.dead_letters.discard([one])
    time.sleep(0.01)
    store.sweep()
    assert list(store.client.scan_iter("*parent*")) == []


def test_followed(here: Here) -> None:
    """`checkpoints show ID --watch` lasts as long as the batch."""
    store = Recovery.of(here.jobs.app).checkpoints
    assert store is not None
    run = Run("shop.load", "4711", "life", 0, 1, "w@host")
    kept = Checkpoint(store, run, "id:4711", {}).of_batch("1")
    kept.save(Progress(done=400, failed=2, succeeded=398, total=1000, rate=50.0).to_dict())
    shown = here("checkpoints", "list").output
    assert "400 of 1,000 (40 %), 2 failed, 50/s, 12s left" in " ".join(shown.split())
    here("checkpoints", "show", "4711", "--watch", "--json", code=2)
    ends = threading.Timer(1.0, kept.finish)
    ends.start()
    told = here("checkpoints", "show", "4711", "--watch").output
    ends.join()
    assert "batch:1:id:4711 has ended: 400 of 1,000" in told


def test_an_old_letter_has_no_batch(here: Here) -> None:
    """Written before there were batches."""
    letter = made_letter("5")
    assert isinstance(letter, Letter)
    here.jobs.dead_letters.store.add(letter)
    assert json.loads(here("dlq", "show", "5", "--json").output).get("batch") is None
