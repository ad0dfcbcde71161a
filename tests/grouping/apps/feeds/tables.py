from pathlib import Path


def columns(path):  # seam
    lines = Path(path).read_text().splitlines()
    return [line.split(";")[2] for line in lines]


def names(path):  # seam
    raw = Path(path).read_bytes()
    return raw.decode("utf-8").splitlines()
