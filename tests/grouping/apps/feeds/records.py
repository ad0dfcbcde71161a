import json
from dataclasses import dataclass


class BadRecord(ValueError):
    pass


class Rejected(Exception):
    pass


@dataclass
class Entity:
    name: str
    number: int


class Bare:
    pass


def check(record):  # seam
    if "id" not in record:
        raise BadRecord(f"record without id: {record}")
    if not record.get("tags"):
        raise BadRecord(f"record without tags: {record}")


def check_ids(ids):  # seam
    unknown = [one for one in ids if not str(one).startswith("k")]
    if unknown:
        raise Rejected(f"unknown ids {unknown} of {len(ids)}")
    doubled = {one for one in ids if ids.count(one) > 1}
    if doubled:
        raise Rejected(f"doubled ids {doubled} of {len(ids)}")


def check_answer(answer):  # seam
    parsed = json.loads(answer)
    if parsed.get("status") != "ok":
        raise Rejected("partner answered " + answer)
    if not parsed.get("rows"):
        raise Rejected("partner sent no rows: " + answer)


def check_blob(blob):  # seam
    if not blob.startswith(b"PK"):
        raise BadRecord(f"not a package: {blob[:16]!r}")
    if len(blob) % 2:
        raise BadRecord(f"package of odd length: {blob!r}")


def check_entity(name, number):  # seam
    entity = Entity(name, number)
    if number < 0:
        raise BadRecord(f"{entity} has a negative number")
    raise BadRecord(f"{Bare()} does not know {entity}")


def check_window(start, end):  # seam
    if end < start:
        raise BadRecord(f"window ends on {end:%a, %d %b %Y} before it starts on {start:%a, %d %b %Y}")
    if start.year < 2000:
        raise BadRecord(f"window starts on {start:%A, %d. %B %Y}, which is too early")


def check_rates(rates):  # seam
    if None in rates.values():
        raise BadRecord(f"rate missing: {rates}")
    worst = max(rates.values())
    if worst > 1:
        raise BadRecord(f"rate {worst} of {len(rates)} rates is above one")
