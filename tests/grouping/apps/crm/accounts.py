from enum import Enum


class Kind(Enum):
    BASIC = "basic"
    GOLD = "gold"


class AccountError(Exception):
    """The message is made where it is shown."""

    template = "account error"

    def __init__(self, **values):
        super().__init__()
        self.values = values

    def __str__(self):
        return self.template.format(**self.values)


class Overdrawn(AccountError):
    template = "{owner} cannot pay {amount}: only {left} left"


class Closed(AccountError):
    template = "account of {owner} is closed"


BALANCE = {"ada": 10, "ben": 5, "cleo": 0, "dora": 3, "emil": 2, "fay": 1}


def open_account(owner, kind):  # seam
    return owner, Kind(kind)


def transfer(source, target, amount):  # seam
    if source not in BALANCE:
        raise Closed(owner=source)
    _take(source, amount)
    BALANCE[target] += amount


def _take(owner, amount):
    if BALANCE[owner] < amount:
        raise Overdrawn(owner=owner, amount=amount, left=BALANCE[owner])
