from shop.http_client import client


class CustomerUnknown(LookupError):
    pass


class NotAllowed(Exception):
    pass


ROLES = {"admin": 1, "clerk": 2}
BALANCES = {"ada": 3}


def refresh(url):  # seam
    data = client.get_json(url)
    return data["name"]


def assign(name, role):  # seam
    if role not in ROLES:
        raise NotAllowed(f"user {name} cannot be given the role {role}")
    if name not in BALANCES:
        raise CustomerUnknown(f"there is no customer called {name}")
    return ROLES[role]


def close(name):  # seam
    _must_exist(name)
    if BALANCES[name] > 0:
        raise NotAllowed(f"account of {name} still has a balance of {BALANCES[name]}")


def _must_exist(name):
    if name not in BALANCES:
        raise CustomerUnknown(f"there is no customer called {name}")
