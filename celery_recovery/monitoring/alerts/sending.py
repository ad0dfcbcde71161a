"""Sends an alert: to a callable, a webhook (`webhook.py`), or through the notification library Apprise."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from celery_recovery.config import load
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.monitoring.alerts.alert import Alert
from celery_recovery.monitoring.alerts.sink import Sink
from celery_recovery.monitoring.alerts.webhook import Webhook
from celery_recovery.monitoring.alerts.wrong import NotSent

__all__ = ("Sends", "sender")

#: Sends one alert; whatever it raises means that it has not arrived, `NotSent` when to try again.
Sends = Callable[[Alert], None]
_OPTION = "recovery_alerts"
#: The sign behind which a chat reads whom to call.
_MENTION = re.compile(r"@(?=everyone|here)|<(?=[@!#])")


def sender(sink: Sink, secret: str | None = None) -> Sends:
    """What sends to this sink. Raises `ConfigurationError`, naming what cannot be imported or is not understood."""
    sink = sink.resolved()
    if sink.kind == "callable":
        return _called(load(sink.to, _OPTION))
    if sink.kind == "webhook":
        return Webhook(str(sink.to), secret)
    return _Notification(sink)


def _called(function: Callable[[Alert], Any]) -> Sends:
    def send(alert: Alert) -> None:
        function(alert)

    return send


#: What Apprise has said for this caller; None: somebody else uses it.
_HERE: ContextVar[list[str] | None] = ContextVar("said", default=None)


class _Said(logging.Filter):
    """Keeps what Apprise logs for us, and keeps it out of the log: whole URLs may be in it.

    Where Apprise uses threads of its own, it hands them the caller's context.
    """

    @contextmanager
    def kept(self) -> Iterator[list[str]]:
        """The warnings and errors of the block."""
        said: list[str] = []
        logging.getLogger("apprise").addFilter(self)  # once: a filter that is there is not added again
        token = _HERE.set(said)
        try:
            yield said
        finally:
            _HERE.reset(token)

    def filter(self, record: logging.LogRecord) -> bool:
        """False for what is ours."""
        said = _HERE.get()
        if said is not None and record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return said is None


_SAID = _Said()


class _Notification:
    """One of the services that Apprise knows, by its URL."""

    def __init__(self, sink: Sink) -> None:
        try:
            apprise: Any = import_module("apprise")
        except ImportError as exc:
            hint = f"{sink.name} needs pip install 'celery-recovery[alerts]' ({exc})."
            raise ConfigurationError.of(_OPTION, expected="a sink that can be used", got=sink.name, hint=hint) from exc
        self._apprise = apprise
        self._all = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))  # in this thread
        with _SAID.kept():
            known = self._all.add(str(sink.to))
        if not known:
            raise ConfigurationError.of(_OPTION, expected="a URL that Apprise understands", got=sink.name)

    def __call__(self, alert: Alert) -> None:
        kinds = self._apprise.NotifyType
        kind = {"info": kinds.INFO, "warning": kinds.WARNING}.get(alert.severity, kinds.FAILURE)
        # As plain text: Apprise then escapes what a service would take for markup.
        plain = self._apprise.NotifyFormat.TEXT
        body, title = _without_mentions(alert.text or alert.title), _without_mentions(alert.title)
        with _SAID.kept() as said:
            done = self._all.notify(body=body, title=title, notify_type=kind, body_format=plain)
        if not done:
            raise NotSent(" ".join(" ".join(said).split()) or "Apprise does not say why")


def _without_mentions(text: str) -> str:
    """Nobody is called by a word in an exception's message: chats take `@everyone` and `<@…>` out of any text."""
    return _MENTION.sub("\\g<0>\u200b", text)  # a space of no width
