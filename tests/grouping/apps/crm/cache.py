import redis


def _client(address):
    host, _, port = address.partition(":")
    return redis.Redis(host, int(port), socket_connect_timeout=2, retry=None)


def _get(address, key):
    return _client(address).get(key)


def profile(address, key):  # seam
    return _get(address, f"profile:{key}")


def basket(address, key):  # seam
    return _get(address, f"basket:{key}")
