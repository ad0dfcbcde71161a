"""All statements go through one helper."""

import sqlite3

SCHEMA = """
create table customers (email text primary key, name text not null);
create table orders (number integer primary key, total real check (total >= 0));
"""


class Database:
    def __init__(self):
        self.connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.connection.executescript(SCHEMA)

    def execute(self, statement, *values):
        return self._run(statement, values)

    def _run(self, statement, values):
        return self.connection.execute(statement, values).fetchall()


database = Database()


def add_customer(email, name):  # seam
    database.execute("insert into customers values (?, ?)", email, name)
    database.execute("insert into customers values (?, ?)", email, name)


def rename_customer(email, name):  # seam
    database.execute("insert or ignore into customers values (?, ?)", email, "someone")
    database.execute("update customers set name = ? where email = ?", name, email)


def add_order(number, total):  # seam
    database.execute("insert into orders values (?, ?)", number, total)


def monthly_report(month):  # seam
    return database.execute("select sum(total) from bookings where month = ?", month)


def yearly_report(year):  # seam
    return database.execute("select sum(total) from orders group by yaer having year = ?", year)
