import time

TOKENS = {}


class SessionError(Exception):
    pass


class SessionExpired(SessionError):
    pass


def log_in(name, token):  # seam
    if token in TOKENS:
        raise SessionError("User %s has already logged in with session %s" % (name, token))  # noqa: UP031
    if len(token) < 8:
        raise SessionError("User %s has sent a bad session %s" % (name, token))  # noqa: UP031
    TOKENS[token] = time.time()


def touch(token):  # seam
    started = TOKENS.get(token, 0)
    if time.time() - started > 60:
        raise SessionExpired("Session {} expired {:.1f} s ago".format(token, time.time() - started))  # noqa: UP032
