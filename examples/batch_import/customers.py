"""The app: a file of customers goes into a database, row by row."""

from __future__ import annotations

import csv
import os
import sqlite3
from contextlib import closing
from datetime import date
from operator import itemgetter
from pathlib import Path
from typing import Any

from celery import Celery

from celery_recovery import RecoverableTask

__all__ = ("app", "import_customers", "opened")

app = Celery("customers", broker=os.environ["EXAMPLE_REDIS"], backend=os.environ["EXAMPLE_REDIS"])

TABLES = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS customers (
        id INTEGER PRIMARY KEY,
        email TEXT NOT NULL UNIQUE,
        balance INTEGER NOT NULL CHECK (balance >= 0),
        signed_up TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS calls (id INTEGER);  -- each time that a row was worked on, and committed
"""
#: What a kill repeats is there already, and stays as it is. Another row with the same email is an error.
INSERT = "INSERT INTO customers VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"


def opened(path: str) -> closing[sqlite3.Connection]:
    """The database, with its tables."""
    db = sqlite3.connect(path, timeout=30)
    db.executescript(TABLES)
    return closing(db)


@app.task(base=RecoverableTask, bind=True)
def import_customers(self: Any, path: str, database: str) -> None:
    """Import a CSV file. Its rows are committed first, and noted as done then."""
    with Path(path).open(newline="", encoding="utf-8") as lines, opened(database) as db:

        def add(row: dict[str, str]) -> None:
            number = int(row["id"])
            signed_up = date.fromisoformat(row["signed_up"]).isoformat()
            db.execute(INSERT, (number, row["email"], int(row["balance"]), signed_up))
            db.execute("INSERT INTO calls VALUES (?)", (number,))

        self.batch(csv.DictReader(lines), key=itemgetter("id"), commit=db.commit).each(add)
        db.commit()
