import configparser
import json
import xml.etree.ElementTree as ET
from pathlib import Path


class FeedBroken(Exception):
    pass


def read_json(path):
    return json.loads(Path(path).read_text())


def catalogue(path):  # seam
    feed = read_json(path)
    return [item["ean"] for item in feed["items"]]


def prices(path):  # seam
    feed = read_json(path)
    return {entry["ean"]: entry["price"]["gross"] for entry in feed}


def settings(path):  # seam
    parser = configparser.ConfigParser()
    parser.read_string(Path(path).read_text(), source=str(path))
    return parser["delivery"]["hour"]


def menu(path):  # seam
    try:
        root = ET.fromstring(Path(path).read_text())
    except ET.ParseError as exc:
        raise FeedBroken(f"{path} cannot be read: {exc}") from exc
    return root.find("dish").find("name").text
