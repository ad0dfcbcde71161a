"""Everything in one file, as scripts grow into services."""

import functools
import math
import os
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from zoneinfo import ZoneInfo

PREFIX = "Report for %s cannot be made"
REGIONS = {"north": 1, "south": 2}


class ServiceError(Exception):
    """Base of our own."""


class NotReady(ServiceError):
    def __init__(self, thing, state):
        self.thing = thing
        self.state = state

    def __str__(self):
        return f"{self.thing} is not ready (it is {self.state})"


class Denied(ServiceError):
    pass


class ReportFailed(ServiceError):
    pass


def twice(function):
    @functools.wraps(function)
    def attempt(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ConnectionError:
            return function(*args, **kwargs)

    return attempt


# A helper of two layers


def _number(text, what):
    if not text.strip():
        raise ValueError(f"{what} is empty")
    return float(text)


def number_of(row, column):
    return _number(row[column], column)


def net_price(row):  # seam
    return number_of(row, "price") - number_of(row, "rebate")


def weight(row):  # seam
    return number_of(row, "weight")


# HTTP, sockets, processes


@twice
def _download(url):
    with urllib.request.urlopen(url, timeout=3) as answer:
        return answer.read().decode()


def rates(url):  # seam
    return _download(url).splitlines()


def news(url):  # seam
    return _download(url).splitlines()


def send(host, payload):  # seam
    name, _, port = host.partition(":")
    with closing(socket.create_connection((name, int(port)), timeout=2)) as connection:
        connection.sendall(payload)


def convert(name, status):  # seam
    command = [sys.executable, "-c", f"import sys; sys.exit({status})", name]
    subprocess.run(command, check=True)


def scan(name, status):  # seam
    subprocess.run([sys.executable, "-c", f"raise SystemExit({status})", name], check=True)


# Data


@dataclass
class Item:
    name: str
    count: int

    def __post_init__(self):
        if self.count < 0:
            raise ValueError(f"count of {self.name} is {self.count}")

    def share(self, total):
        return self.count / total


def items(pairs):  # seam
    return [Item(name, count) for name, count in pairs]


def shares(pairs):  # seam
    made = [Item(name, count) for name, count in pairs]
    total = sum(one.count for one in made)
    return [one.share(total) for one in made]


def spread(values):  # seam
    return statistics.stdev(values)


def middle(values):  # seam
    return statistics.median(values)


def root(value):  # seam
    return math.sqrt(value)


def log(value):  # seam
    return math.log(value)


def matches(pattern, text):  # seam
    return re.compile(pattern).match(text).group(1)


def zone(name):  # seam
    return ZoneInfo(name).key


def setting(name):  # seam
    return int(os.environ["SOLO_" + name])


# People and states


def enter(name, region):  # seam
    if region not in REGIONS:
        raise Denied(f"{name} may not enter {region}")
    return REGIONS[region]


def leave(name, region):  # seam
    if name.startswith("guest"):
        raise Denied(f"{name} may not leave before noon")
    return REGIONS.pop(region)


def publish(thing, state):  # seam
    if state != "done":
        raise NotReady(thing, state)


def archive(thing, state):  # seam
    if state != "published":
        raise NotReady(thing, state)


# Translated errors


def _lines(title, data):
    return [f"{title}: {entry['sum'] / entry['count']}" for entry in data]


def report(title, data):  # seam
    try:
        return _lines(title, data)
    except Exception as exc:  # noqa: BLE001
        raise ReportFailed(f"{PREFIX % title}: {exc}")  # noqa: B904


def summary(title, data):  # seam
    try:
        return sum(entry["sum"] for entry in data) / len(data)
    except (ZeroDivisionError, KeyError):
        raise ReportFailed(f"No summary for {title}")  # noqa: B904


def chart(title, data):  # seam
    problem = None
    try:
        return max(data)
    except (TypeError, ValueError) as exc:
        problem = exc
    raise ReportFailed(f"No chart for {title}") from problem


# A database


class Table:
    def __init__(self, columns):
        self.connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.connection.execute(f"create table data ({columns})")

    def insert(self, *values):
        marks = ", ".join("?" for _ in values)
        self.connection.execute(f"insert into data values ({marks})", values)

    def select(self, condition):
        return self.connection.execute(f"select * from data where {condition}").fetchone()[0]


class People(Table):
    def __init__(self):
        super().__init__("name text primary key, age integer not null")

    def add(self, name, age):
        self.insert(name, age)


class Places(Table):
    def __init__(self):
        super().__init__("name text primary key, size integer not null")

    def add(self, name, size):
        self.insert(name, size)


def person(name, age):  # seam
    people = People()
    people.add(name, age)
    people.add(name, age)


def place(name, size):  # seam
    places = Places()
    places.add(name, size)
    places.add(name, size)


def oldest(name):  # seam
    return People().select(f"name = '{name}'")
