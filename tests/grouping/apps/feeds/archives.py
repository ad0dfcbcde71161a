import gzip
import zipfile


def unpack(path):  # seam
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def member(path, name):  # seam
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def inflate(path):  # seam
    with gzip.open(path) as stream:
        return stream.read()
