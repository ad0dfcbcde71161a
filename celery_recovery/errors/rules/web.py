"""Exceptions of web frameworks: they stand for the status that would be answered; and Django's own beside them."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of, number
from celery_recovery.errors.retry_after import seconds
from celery_recovery.errors.rules.http import by_own_status
from celery_recovery.errors.rules.network import NETWORK_FAULT
from celery_recovery.errors.rules.rule import Answer, Family, Through, each, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_B, _F, _N, _P, _S, _V = (
    ErrorType.BUSINESS_LOGIC,
    ErrorType.FILESYSTEM,
    ErrorType.NETWORK,
    ErrorType.PARSING,
    ErrorType.SYSTEM,
    ErrorType.VALIDATION,
)
_SCHEMA = permanent(ErrorType.SCHEMA)
_INVALID, _UNREADABLE, _MISUSE = permanent(_V), permanent(_P), permanent(ErrorType.UNKNOWN)
_SETTINGS = permanent(_S, severity=ErrorSeverity.HIGH)
_status = by_own_status("status_code", "code", "status")


def _with_wait(exc: Any) -> Answer:
    """Werkzeug and Django REST framework say in an attribute of their own when to come back."""
    wait = seconds(attr(exc, "retry_after"))
    if wait is None:
        wait = seconds(attr(exc, "wait"))
    status = attr(exc, "code") or attr(exc, "status_code")
    response = attr(exc, "response")
    if number(status) is None:
        status = attr(response, "status_code")
    return by_status(status, attr(response, "headers"), retry_after=wait)


def _text_status(exc: Any) -> Answer:
    """Falcon gives `status` as `503 Service Unavailable`, its number as `status_code`; bottle `status_code`."""
    return _status(exc) or by_status(str(attr(exc, "status"))[:3], attr(exc, "headers"))


def _starlette(exc: Any) -> Answer:
    return by_status(attr(exc, "status_code"), attr(exc, "headers"))


def _through(exc: Any) -> Answer:
    return Through(cause_of(exc), _INVALID)


FAMILY = Family(
    name="web",
    classes={
        "werkzeug.exceptions.HTTPException": _with_wait,
        "werkzeug.exceptions.ClientDisconnected": NETWORK_FAULT,
        **each("werkzeug.routing.exceptions", "BuildError RequestRedirect", _MISUSE),
        "starlette.exceptions.HTTPException": _starlette,
        "starlette.requests.ClientDisconnect": NETWORK_FAULT,
        "starlette.formparsers.MultiPartException": _UNREADABLE,
        "fastapi.exceptions.ValidationException": _INVALID,
        "fastapi.exceptions.ResponseValidationError": _SCHEMA,
        "fastapi.exceptions.FastAPIError": _MISUSE,
        "tornado.web.HTTPError": by_own_status("status_code"),
        "tornado.web.MissingArgumentError": _INVALID,
        **each("tornado.httputil", "HTTPInputError", _UNREADABLE),
        "tornado.util.TimeoutError": transient(_N, "ETIMEDOUT"),
        **each("tornado.queues", "QueueEmpty QueueFull", transient(_S)),
        "aiohttp.web_exceptions.HTTPException": _status,
        **each("aiohttp.web_protocol", "RequestPayloadError PayloadAccessError", NETWORK_FAULT),
        **each("sanic.exceptions", "SanicException HTTPException", _status),
        "sanic.exceptions.WebsocketClosed": NETWORK_FAULT,
        "falcon.http_error.HTTPError": _text_status,
        "bottle.HTTPResponse": _text_status,
        "webob.exc.HTTPException": _text_status,
        "pyramid.httpexceptions.HTTPException": _text_status,
        "litestar.exceptions.http_exceptions.HTTPException": _status,
        "quart.exceptions.RequestEntityTooLarge": _INVALID,
        "cherrypy._cperror.HTTPError": _text_status,
        "rest_framework.exceptions.APIException": _with_wait,
        "rest_framework.exceptions.ValidationError": _INVALID,
        "rest_framework.exceptions.ParseError": _UNREADABLE,
        "ninja.errors.HttpError": _status,
        # Django; its models are in `orm`
        "django.http.response.Http404": permanent(_B, "HTTP 404"),
        "django.core.exceptions.PermissionDenied": permanent(_B, "HTTP 403", severity=ErrorSeverity.HIGH),
        **each("django.core.exceptions", "SuspiciousOperation BadRequest DisallowedHost ValidationError", _INVALID),
        "django.core.exceptions.RequestAborted": NETWORK_FAULT,
        "django.core.exceptions.MiddlewareNotUsed": _SETTINGS,
        "django.http.request.UnreadablePostError": NETWORK_FAULT,
        **each("django.http.request", "RawPostDataException", _MISUSE),
        **each("django.http.multipartparser", "MultiPartParserError", _UNREADABLE),
        **each("django.core.serializers.base", "SerializationError DeserializationError", _UNREADABLE),
        "django.core.serializers.base.SerializerDoesNotExist": _SETTINGS,
        **each("django.core.signing", "BadSignature SignatureExpired", _INVALID),
        **each("django.core.paginator", "InvalidPage", _INVALID),
        "django.core.management.base.CommandError": _through,
        "django.core.mail.message.BadHeaderError": _INVALID,
        "django.template.exceptions.TemplateDoesNotExist": permanent(_F),
        "django.template.exceptions.TemplateSyntaxError": _UNREADABLE,
        "django.urls.exceptions.NoReverseMatch": _MISUSE,
        "django.utils.connection.ConnectionDoesNotExist": _SETTINGS,
        "django.utils.datastructures.MultiValueDictKeyError": _SCHEMA,
        "django.contrib.sessions.backends.base.CreateError": transient(_S),
        "django.contrib.sessions.backends.base.UpdateError": transient(_S),
    },
)
