"""Functions and classes that are chosen or made while the program runs."""

from functools import partial, singledispatch

HANDLERS = {}


def on(event):
    def register(handler):
        HANDLERS[event] = handler
        return handler

    return register


@on("paid")
def _paid(payload):
    return payload["amount"]


@on("sent")
def _sent(payload):
    return payload["amount"]


@singledispatch
def _show(value):
    raise TypeError(f"cannot show {value!r}")


@_show.register
def _(value: int):
    return 100 // value


@_show.register
def _(value: list):
    return value[3]


HANDLERS["shown"] = _show
HANDLERS["halved"] = partial(divmod, 2)


def handle(event, payload):  # seam
    return HANDLERS[event](payload)


def generated(name, value):  # seam
    made = type(name, (), {"__slots__": ("value",)})()
    made.value = value
    return made.amount


def rule(source, values):  # seam
    return eval(compile(source, "<rule>", "eval"), {}, values)
