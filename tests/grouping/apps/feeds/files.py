import shutil
from pathlib import Path


def _read(path):
    return Path(path).read_bytes()


def manifest(path):  # seam
    return _read(path).splitlines()


def thumbnail(path):  # seam
    return _read(path)[:10]


def archive(folder, name):  # seam
    target = Path(folder) / name
    target.mkdir()
    return shutil.copytree(folder, target)
