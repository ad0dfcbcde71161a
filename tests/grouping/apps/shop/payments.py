class PaymentFailed(Exception):
    pass


class Frozen(Exception):
    pass


PROVIDERS = {
    "stripe": {
        "poor": "your account has insufficient funds",
        "old": "the card expired in {}",
        "down": "we are down for maintenance",
    },
}


def require(payload, field):
    if payload.get(field) is None:
        raise ValueError(f"missing field {field} in {payload}")
    return payload[field]


def charge(payload):  # seam
    customer = require(payload, "customer")
    amount = require(payload, "amount")
    return customer, amount


def refund(payload):  # seam
    return require(payload, "customer")


def settle(account, provider):  # seam
    said = _ask(account)
    if said is not None:
        raise PaymentFailed(f"payment of account {account['id']} by {provider} failed: {said}")
    if account["frozen"]:
        raise Frozen("account %(id)s of %(owner)s is frozen since %(since)s" % account)  # noqa: UP031


def _ask(account):
    return PROVIDERS["stripe"].get(account["state"], "").format(account.get("expiry")) or None
