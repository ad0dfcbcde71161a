from decimal import Decimal

from shop import money
from shop.http_client import client


def fetch(url):  # seam
    document = client.get_json(url)
    return document["number"], money.amount(document["total"])


def total(lines):  # seam
    result = Decimal(0)
    for line in lines:
        result += money.amount(line["price"]) * line["quantity"]
    return result


def refunded(text):  # seam
    return money.amount(text)


def discount(lines):  # seam
    rebate = 0
    for line in lines:
        rebate += int(line["percent"])
        rebate -= int(line["minimum"])
    return rebate / len(lines)
