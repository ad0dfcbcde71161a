"""What the pages of Flower say and offer, without a Flower."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("flower", reason="Flower is not installed: pip install 'celery-recovery[flower]'")

from celery_recovery.circuit.state import CircuitState
from celery_recovery.dead_letters.groups import ErrorGroup, GroupState
from celery_recovery.errors.model import Frame
from celery_recovery.flower import showing
from celery_recovery.flower.grouped import place_of
from celery_recovery.flower.operations import told
from celery_recovery.flower.overview import headline_of
from celery_recovery.flower.verbs import of_circuit, of_group, of_letters, of_operation
from celery_recovery.operations.canary import Canary, Outcomes
from celery_recovery.operations.operation import Operation, OperationState
from celery_recovery.redact import MASK


def group(share: float, **changes: Any) -> ErrorGroup:
    known = {"fingerprint": "2:0123456789abcdef", "count": 1, "newest_id": "x", "oldest": 5.0, "newest": 9.0}
    return ErrorGroup(**{**known, "share": share, "versions": {"v1": 3}, **changes})


def operation(state: str, **changes: Any) -> Operation:
    known: dict[str, Any] = {"id": "a" * 32, "kind": "replay", "selected": 100, "position": 5, "done": 5}
    return Operation(state=OperationState(state), **{**known, **changes})


def verbs(buttons: Any) -> list[str]:
    return [button.verb for button in buttons]


class TestHeadline:
    """The few groups that nearly all letters are of."""

    def test_three(self) -> None:
        """As many as make up nine tenths, since the first death of any of them."""
        found = headline_of([group(0.54, first_seen=7.0), group(0.25, first_seen=3.0), group(0.2), group(0.01)])
        assert found is not None
        assert (found.groups, round(found.share, 2), found.since, found.version) == (3, 0.99, 3.0, "v1")

    def test_many(self) -> None:
        """Where it takes more than a handful, nothing is said."""
        assert headline_of([group(0.1)] * 10) is None
        assert headline_of([]) is None

    def test_versions(self) -> None:
        """Which version it was is said if all died in one."""
        found = headline_of([group(0.5), group(0.5, versions={"v1": 1, "v2": 1})])
        assert found is not None
        assert found.version == ""


class TestOffered:
    """Buttons are there where they do something."""

    def test_letters(self) -> None:
        assert verbs(of_letters([], some=False)) == ["replay", "edit", "review", "discard"]
        assert verbs(of_letters(["review"], some=True, edited=False)) == [
            "approve", "reject", "edit", "assign", "annotate", "restore",
        ]  # fmt: skip
        assert verbs(of_letters(["recovered"], some=True, edited=False)) == ["annotate"]
        assert verbs(of_letters(["discarded"], some=True, edited=False)) == ["annotate", "restore"]
        assert "undo" in verbs(of_letters(["failed"], some=True, edited=True))

    def test_groups(self) -> None:
        assert verbs(of_group(GroupState.OPEN)) == ["resolve", "ignore"]
        assert verbs(of_group(GroupState.RESOLVED)) == ["reopen", "ignore"]

    @pytest.mark.parametrize("state", list(CircuitState))
    def test_circuits(self, state: CircuitState) -> None:
        """What is legal from there, but for what it is already."""
        offered = verbs(of_circuit(state.value))
        assert "reset-circuit" in offered
        assert ("close-circuit" in offered) is (state is not CircuitState.CLOSED)
        assert ("open-circuit" in offered) is (state is not CircuitState.FORCED_OPEN)
        assert ("probe-circuit" in offered) is (state not in (CircuitState.CLOSED, CircuitState.HALF_OPEN))

    def test_operations(self) -> None:
        assert verbs(of_operation(operation("running"))) == ["pause", "cancel"]
        assert verbs(of_operation(operation("stopped"))) == ["resume", "cancel"]
        assert verbs(of_operation(operation("done"))) == []
        assert verbs(of_operation(operation("done", kind="edit"))) == ["undo"]


class TestTold:
    """Why an operation stands where it does."""

    def test_stopped_by_its_canary(self) -> None:
        why = told(operation("stopped", by_canary=True, message="5 of 5 replays died again, where 90% should recover"))
        assert why == (
            "Its canary has stopped it: 5 of 5 replays died again, where 90% should recover."
            " The other 95 letters are as they were."
        )

    def test_dealt_with_since(self) -> None:
        assert "None of the other 95 letters waits any more" in told(operation("paused"), spent=True)

    def test_a_sentence_keeps_its_letters(self) -> None:
        """Names within it are not made small."""
        said = told(operation("cancelled", position=100, message="nothing was changed: tests.Shop does not take it"))
        assert said.startswith("Nothing was changed: tests.Shop does not take it.")

    def test_running(self) -> None:
        terms = {"canary": Canary(first=5).to_dict()}
        assert "Step 3, of 20 letters" in told(operation("running", step=3, terms=terms, runner="h/1"))
        assert "Nobody has taken it up yet" in told(operation("running", step=3, terms=terms))

    def test_on_their_way(self) -> None:
        done = operation("done", position=100, done=100, outcomes=Outcomes(recovered=90))
        assert told(done) == "All are published; 10 have not ended yet."


class TestShown:
    """Texts and values."""

    def test_diff(self) -> None:
        before, after = {"args": [], "kwargs": {"lang": "english"}}, {"args": [], "kwargs": {"lang": "en"}}
        changed = [(sign, line.strip()) for sign, line in showing.diff(before, after) if sign != " "]
        assert changed == [("-", '"lang": "english"'), ("+", '"lang": "en"')]
        assert showing.diff(before, before) == []

    def test_diff_of_what_is_hostile(self) -> None:
        """Each line is harmless, and a line of an argument does not pass for one of the diff."""
        lines = showing.diff({"a": "x"}, {"a": "x\n- \x1b[31m\u202e"})
        assert all(line.isprintable() for _, line in lines)
        assert [sign for sign, _ in lines].count("-") == 1

    def test_places(self) -> None:
        """As an edit takes them; no secret, and nothing whose name an edit could not hold."""
        known = {
            "args": [7, {"sku": "a"}],
            "kwargs": {"price": 1.5, "a.b": 1, "token": MASK, "odd": "x\ny", "ok": None},
        }
        assert showing.places(known) == ["args.0=7", "args.1.sku=a", "kwargs.price=1.5", "kwargs.ok=null"]
        assert showing.places({"sku": "a"}) == ["item.sku=a"]
        assert len(showing.places({"args": list(range(1000)), "kwargs": {}})) == 40

    def test_readable(self) -> None:
        assert showing.readable("--task=x --until=1796067837.428647") == "--task=x --until=2026-11-30T19:43:57"
        assert showing.readable("--text=--until=7x") == "--text=--until=7x"

    @pytest.mark.parametrize(
        ("value", "words"),
        [(None, "-"), (0.0, "0%"), (0.0004, "<0.1%"), (0.05, "5.0%"), (0.54, "54%"), (0.997, ">99%")],
    )
    def test_share(self, value: float | None, words: str) -> None:
        assert showing.share(value) == words

    def test_place(self) -> None:
        """The innermost frame of somebody's own code; where all is a library's, the innermost."""
        own, library = Frame("/srv/app/shop.py", 12, "ship"), Frame("/v/site-packages/requests/api.py", 60, "get")
        assert place_of([own, library]) == "ship (shop.py:12)"
        assert place_of([library]) == "get (api.py:60)"
        assert place_of([]) == ""
