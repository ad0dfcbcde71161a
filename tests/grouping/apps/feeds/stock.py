import csv
from pathlib import Path


def _rows(path):
    with Path(path).open(newline="") as stream:
        yield from csv.DictReader(stream)


def levels(path):  # seam
    result = {}
    for row in _rows(path):
        quantity = int(row["quantity"])
        reserved = int(row["reserved"] or 0)
        result[row["ean"]] = quantity - reserved
    return result


def values(path):  # seam
    return sum(float(row["price"]) * float(row["quantity"]) for row in _rows(path))
