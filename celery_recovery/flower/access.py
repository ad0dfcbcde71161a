"""Who may see and who may act, and what every page has in common.

Flower's own login decides who sees the pages. Who may act:

- somebody has to have logged in (`--basic-auth`, `--auth`), or `FLOWER_UNAUTHENTICATED_API` has to say that nobody
  need: Flower listens to the whole network without a login by default;
- not where Flower is `--read-only`, nor where the role of its tools is to read (`recovery_role`);
- with `recovery_flower_operators`, only those whom it names.

Every request that is not a mere look comes from a page of this Flower, as far as browsers tell, and carries Tornado's
XSRF token, which Flower itself asks for in some cases only.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from base64 import b64decode
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from urllib.parse import urlsplit

import tornado.web
from flower.utils import strtobool  # type: ignore[import-untyped]
from flower.views import BaseHandler  # type: ignore[import-untyped]
from tornado.httputil import url_concat

from celery_recovery.dead_letters.queue import DeadLetterQueue
from celery_recovery.exceptions import (
    GroupNotFound,
    LetterNotFound,
    NotAllowed,
    OperationNotFound,
    RecoveryError,
    StoreUnavailable,
)
from celery_recovery.flower import showing
from celery_recovery.recovery import Recovery
from celery_recovery.redact import Redactor

__all__ = ("Page",)

logger = logging.getLogger("celery_recovery")
#: By the built-in patterns: an error may come before the app's own are known.
_HIDE = Redactor()

T = TypeVar("T")


class Page(BaseHandler):  # type: ignore[misc]  # Flower is untyped
    """What all of our pages do."""

    recovery: Recovery
    letters: DeadLetterQueue
    redact: Redactor

    def set_default_headers(self) -> None:
        """Nobody else's page reads or frames ours, whatever Flower allows for its own."""
        super().set_default_headers()
        for name in ("Origin", "Headers", "Methods"):
            self.clear_header(f"Access-Control-Allow-{name}")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")
        # scripts stay Flower's own business: its pages have them inline
        self.set_header("Content-Security-Policy", "frame-ancestors 'none'; form-action 'self'; object-src 'none'; "
                        "base-uri 'none'")  # fmt: skip

    def check_xsrf_cookie(self) -> None:
        """Always, and not only in the cases that Flower sees a need for."""
        headers = self.request.headers
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        hosts = (self.request.host, headers.get("X-Forwarded-Host"))  # which no page of another site can set
        if site not in (None, "same-origin", "none") or (not site and origin and urlsplit(origin).netloc not in hosts):
            raise tornado.web.HTTPError(403, "This was sent from a page of another site.")
        tornado.web.RequestHandler.check_xsrf_cookie(self)

    def prepare(self) -> None:
        """See to login, token and rights, before anything else."""
        super().prepare()
        if not self.current_user:
            if self.request.method not in ("GET", "HEAD"):
                raise tornado.web.HTTPError(403)
            self.redirect(url_concat(self.get_login_url(), {"next": self.request.uri or ""}))
            return
        if self.request.method not in ("GET", "HEAD"):
            self.check_xsrf_cookie()
            if not self.may_operate:
                raise tornado.web.HTTPError(403, self.why_not)
        self.recovery = Recovery.of(self.capp)

    # -- who

    @property
    def user(self) -> str:
        """Who has logged in; empty: nobody had to."""
        if isinstance(self.current_user, (str, bytes)):
            return self.current_user.decode() if isinstance(self.current_user, bytes) else self.current_user
        scheme, _, coded = self.request.headers.get("Authorization", "").partition(" ")
        if not self.application.options.basic_auth or scheme != "Basic":
            return ""
        return b64decode(coded).decode("utf-8", "replace").partition(":")[0]  # Flower has checked it

    @property
    def by(self) -> str:
        """The same, for the record."""
        return self.user or f"somebody at {self.request.remote_ip}"

    @property
    def why_not(self) -> str:
        """Why this user may not act; empty: they may."""
        options = self.application.options
        if getattr(options, "read_only", False):
            return "This Flower is read-only."
        if Recovery.of(self.capp).role == "read":
            return "The role of this Flower is to look (recovery_role, or CELERY_RECOVERY_ROLE)."
        if not (options.basic_auth or options.auth or self.is_open):
            return "Nobody can act without a login: start Flower with --basic-auth or --auth."
        operators = Recovery.of(self.capp).settings.flower_operators
        if operators and not any(fnmatchcase(self.user, one) for one in operators):
            return f"{self.user or 'Nobody'} may look, but not act (recovery_flower_operators)."
        return ""

    @property
    def is_open(self) -> bool:
        """Flower was told that its API needs no login."""
        return bool(strtobool(os.environ.get("FLOWER_UNAUTHENTICATED_API") or "false"))

    @property
    def may_operate(self) -> bool:
        """Whether this user may act."""
        return not self.why_not

    # -- doing and showing

    async def aside(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call it in a thread: Redis may be slow, and Flower has one loop."""
        return await asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args, **options))

    async def connect(self) -> None:
        """The store, or `ConfigurationError` and `StoreUnavailable`."""
        self.letters = await self.aside(lambda: self.recovery.dead_letters)
        self.redact = self.recovery.redact

    def show(self, template: str, tab: str, **what: Any) -> None:
        """Render one of our templates."""
        known = {name: getattr(showing, name) for name in showing.__all__}
        self.render(f"recovery_{template}.html", tab=tab, page=self, **known, **what)

    def place(self, name: str) -> str:
        """The address of one of our pages."""
        return str(self.reverse_url(name))

    def at(self, page: str, /, **query: Any) -> str:
        """The same, with a query."""
        pairs = [
            (key, str(one))
            for key, value in query.items()
            if value not in (None, "")
            for one in (value if isinstance(value, (list, tuple)) else (value,))
        ]
        return url_concat(self.place(page), pairs)

    def given(self, name: str) -> list[str]:
        """All values of that name in the form, or else in the query, as they came: an id may hold any character.

        (Tornado's own `get_arguments` take control characters out.)
        """
        request = self.request
        values = request.body_arguments.get(name) or request.query_arguments.get(name) or []
        return [value.decode("utf-8", "replace") for value in values]

    def one(self, name: str, default: str = "") -> str:
        """The last of them."""
        return next(reversed(self.given(name)), "") or default

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """What an operator can do something about is told in a sentence; of all else only that it happened.

        Flower's own page of a mistake shows its traceback where it was started with `--debug`, with all that is in it.
        """
        exc = kwargs.get("exc_info", (None, None))[1]
        codes = (
            (StoreUnavailable, 503), ((LetterNotFound, GroupNotFound, OperationNotFound), 404), (NotAllowed, 403),
            (RecoveryError, 400),
        )  # fmt: skip
        code = next((code for kind, code in codes if isinstance(exc, kind)), None)
        if code is not None:
            message = _HIDE.text(str(exc))
        elif status_code == 401:  # the browser asks for the password
            super().write_error(status_code, **kwargs)
            return
        elif isinstance(exc, tornado.web.HTTPError):
            code, message = status_code, exc.log_message or exc.reason or ""
        else:
            code, message = status_code, "That is a mistake of this page; the log of Flower tells more."
        self.set_status(code)
        self.show("message", "", title={503: "Redis is away", 404: "Not there", 403: "Not allowed"}.get(
            code, "That does not work"), message=message)  # fmt: skip

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What is told on the page needs no traceback in the log; what goes there is without secrets."""
        if isinstance(value, tornado.web.HTTPError):
            super().log_exception(typ, value, tb)
        elif not isinstance(value, RecoveryError):
            logger.error("a page failed: %s %s", self.request.method, self.request.path, exc_info=(typ, value, tb),
                         extra={"action": "page_failed"})  # fmt: skip
