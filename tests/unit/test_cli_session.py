"""While a command drains the broker's queue, the operator is not left alone with a silent terminal."""

from __future__ import annotations

import pytest

from celery_recovery.cli import session
from celery_recovery.cli.output import Output


@pytest.mark.parametrize(("patience", "lines"), [(0.0, 2), (60.0, 0)])
def test_a_line_now_and_then(patience, lines, monkeypatch, capsys):
    """On stderr, no more often than every few seconds."""
    monkeypatch.setattr(session, "PATIENCE", patience)
    told = session.Drained(Output(), "letters")
    told(100)
    told(200)
    assert capsys.readouterr().err.count("letters taken out of the queue letters so far") == lines
