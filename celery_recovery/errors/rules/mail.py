"""Mail and files of the older protocols: SMTP, IMAP, POP3, NNTP and FTP, by the codes of their replies.

A reply's first digit decides (RFC 5321 section 4.2.1, RFC 959 section 4.2): 4 is transient, 5 is permanent. The
enhanced status code in the text (RFC 3463), where there is one, says which part of the way refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.rules.rule import Family, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import under

__all__ = ("FAMILY", "by_smtp_code")

_N, _V, _B, _S, _F, _P = (
    ErrorType.NETWORK,
    ErrorType.VALIDATION,
    ErrorType.BUSINESS_LOGIC,
    ErrorType.SYSTEM,
    ErrorType.FILESYSTEM,
    ErrorType.PARSING,
)
_HIGH = ErrorSeverity.HIGH
_DOWN = transient(_N)
_NOT_ALLOWED = permanent(_N, severity=_HIGH)
_MISUSE = permanent(_V)

_ENHANCED = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
# 5yz replies: which are a matter of credentials, and which of commands and data (RFC 5321 4.2.3, RFC 4954 6).
_SMTP_AUTH = frozenset({530, 534, 535, 538, 525, 235})
_SMTP_SYNTAX = frozenset({500, 501, 502, 503, 504, 555, 556})


def by_smtp_code(code: Any, text: Any = b"") -> Verdict | None:
    """The verdict on an SMTP reply, by its code and the enhanced code in its text; None when there is no code."""
    value = number(code)
    if value is None:
        return None
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    enhanced = _ENHANCED.search(words[:1000])
    name = f"SMTP {value}" + (f" {enhanced[0]}" if enhanced else "")
    if not 400 <= value <= 599:
        # smtplib gives -1 when no reply could be read; others mean that the dialogue went out of step.
        return transient(_N, name if value > 0 else None, rule="smtp.no_reply")
    if value < 500:
        # 454 and 432 are about authentication, yet temporary (RFC 4954 section 6).
        return transient(_N, name, rule=f"smtp.{value}", context={"smtp_code": value})
    return _refused(value, name)


def _refused(value: int, name: str) -> Verdict:
    if value in _SMTP_AUTH:
        return permanent(_N, name, severity=_HIGH, rule=f"smtp.{value}", context={"smtp_code": value})
    kind = _V if value in _SMTP_SYNTAX else _B
    if value == 521:  # RFC 7504: this host never accepts mail
        kind = _N
    return permanent(kind, name, rule=f"smtp.{value}", context={"smtp_code": value})


def _smtp_reply(exc: Any) -> Verdict | None:
    code = attr(exc, "smtp_code")
    if code is None:
        return by_smtp_code(attr(exc, "code"), attr(exc, "message", b""))
    return by_smtp_code(code, attr(exc, "smtp_error", b""))


def _recipients(exc: Any) -> Verdict | None:
    """All recipients were refused: worth another go if any of them may be accepted later."""
    refused = attr(exc, "recipients")
    replies: Iterable[Any] = refused.values() if isinstance(refused, dict) else refused
    verdicts = [verdict for verdict in map(_recipient, list(replies)[:1000]) if verdict is not None]
    later = [verdict for verdict in verdicts if verdict.retryable]
    chosen = later or verdicts
    return chosen[0] if chosen else None


def _recipient(reply: Any) -> Verdict | None:
    if isinstance(reply, BaseException):  # aiosmtplib keeps one exception for each
        return _smtp_reply(reply)
    return by_smtp_code(reply[0], reply[1])


def _smtp_auth(exc: Any) -> Verdict:
    verdict = _smtp_reply(exc)
    return verdict if verdict is not None else _NOT_ALLOWED


_REPLY = re.compile(r"\s*(\d{3})\b")
# RFC 959 section 4.2.2, RFC 4217; what is about files and what about the connection.
_FTP = {
    **dict.fromkeys((421, 425, 426, 434, 436), _N),
    **dict.fromkeys((450, 451), _F),
    452: _F,
    **dict.fromkeys((430, 530, 532, 533, 534, 535, 536, 537), _N),
    **dict.fromkeys((550, 551, 552, 553), _F),
    **dict.fromkeys((500, 501, 502, 503, 504, 522), _V),
}
_FTP_FOREVER = frozenset({430})  # invalid user name or password, of some servers
_FTP_LATER = re.compile(
    r"too many|try again|temporar|busy|locked|in use|maximum|max\w* (?:number of )?(?:clients|connections)",
    re.IGNORECASE,
)


def _ftp_reply(exc: Any) -> Verdict | None:
    text = str(exc)
    found = _REPLY.match(text)
    code = int(found[1]) if found else _aioftp_code(exc)
    if code is None:
        return None
    retryable = code < 500 and code not in _FTP_FOREVER
    # 530 is also what servers say when all their places are taken.
    if code == 530 and _FTP_LATER.search(text[:500]):
        retryable = True
    return Verdict(_FTP.get(code, _N), retryable, f"FTP {code}", rule=f"ftp.{code}", context={"ftp_code": code})


def _aioftp_code(exc: Any) -> int | None:
    received = attr(exc, "received_codes")
    return number(str(received[-1])) if received else None


def _ftp_permanent(exc: Any) -> Verdict:
    return _ftp_reply(exc) or permanent(_F)


def _ftp_temporary(exc: Any) -> Verdict:
    return _ftp_reply(exc) or _DOWN


# RFC 5530 (IMAP) and RFC 2449, RFC 3206 (POP3): response codes in brackets.
_BRACKETED = re.compile(r"\[\s*([A-Za-z][A-Za-z/-]+)")
_RESPONSE = {
    "UNAVAILABLE": _DOWN,
    "INUSE": _DOWN,
    "IN-USE": _DOWN,
    "SYS/TEMP": _DOWN,
    "SERVERBUG": transient(_N),
    "LOGIN-DELAY": _DOWN,
    "LIMIT": transient(_N),
    "CONTACTADMIN": _NOT_ALLOWED,
    "SYS/PERM": permanent(_N, severity=_HIGH),
    "AUTH": _NOT_ALLOWED,
    "AUTHENTICATIONFAILED": _NOT_ALLOWED,
    "AUTHORIZATIONFAILED": _NOT_ALLOWED,
    "EXPIRED": _NOT_ALLOWED,
    "PRIVACYREQUIRED": _NOT_ALLOWED,
    "NOPERM": _NOT_ALLOWED,
    "CLIENTBUG": _MISUSE,
    "CANNOT": _MISUSE,
    "CORRUPTION": permanent(_N, severity=_HIGH),
    "OVERQUOTA": permanent(_B),
    "ALREADYEXISTS": permanent(_B),
    "NONEXISTENT": permanent(_B),
    "TRYCREATE": permanent(_B),
    "BADCHARSET": _MISUSE,
    "PARSE": permanent(_P),
}
_LATER = re.compile(
    r"try (again|later)|temporar|too many|timed? ?out|unavailable|overload|throttl|rate limit|in use|locked|busy|EOF"
    r"|Logging out|server shutting down|connection (closed|reset|lost)|socket error|BYE\b|simultaneous",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"authenticat|invalid credential|login (failed|incorrect|denied)|password|not authori[sz]ed|permission",
    re.IGNORECASE,
)


def _by_text(exc: Any, otherwise: Verdict) -> Verdict:
    """IMAP and POP3 refuse in words: a response code in brackets if there is one, else what the words say."""
    text = _words(exc)
    bracket = _BRACKETED.search(text)
    if bracket and bracket[1].upper() in _RESPONSE:
        verdict = _RESPONSE[bracket[1].upper()]
        return Verdict(verdict.error_type, verdict.retryable, bracket[1].upper(), severity=verdict.severity)
    if _LATER.search(text):
        return _DOWN
    return _NOT_ALLOWED if _LOGIN.search(text) else otherwise


def _words(exc: Any) -> str:
    text = exc.args[0] if exc.args else ""
    return (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))[:1000]


def _pop_error(exc: Any) -> Verdict:
    return _by_text(exc, permanent(_N))


def _imap_abort(exc: Any) -> Verdict:
    """`IMAP4.abort`: the connection is over, "close it and try again" (imaplib's own words)."""
    verdict = _by_text(exc, _DOWN)
    return verdict if verdict.code else _DOWN


def _imap_error(exc: Any) -> Verdict:
    return _by_text(exc, _MISUSE)


def _nntp_reply(exc: Any) -> Verdict:
    """RFC 3977: 400 and 403 pass, the other 4yz are about what was asked for; 502 is permission, 503 not supported."""
    found = _REPLY.match(str(attr(exc, "response") or exc))
    code = int(found[1]) if found else 0
    name = f"NNTP {code}" if code else None
    if code in (400, 403, 0):
        return transient(_N, name)
    return permanent(_N if code in (480, 481, 482, 483, 502) else _V if code >= 500 else _B, name)


_SMTP_PACKAGES = ("smtplib", "aiosmtplib.errors")

FAMILY = Family(
    name="mail",
    classes={
        **{f"{package}.SMTPResponseException": _smtp_reply for package in _SMTP_PACKAGES},
        **{f"{package}.SMTPAuthenticationError": _smtp_auth for package in _SMTP_PACKAGES},
        **{f"{package}.SMTPRecipientsRefused": _recipients for package in _SMTP_PACKAGES},
        **{f"{package}.SMTPServerDisconnected": _DOWN for package in _SMTP_PACKAGES},
        **{f"{package}.SMTPNotSupportedError": permanent(_N) for package in _SMTP_PACKAGES},
        **{f"{package}.SMTPException": permanent(_N, rule="smtp") for package in _SMTP_PACKAGES},
        "aiosmtplib.errors.SMTPNotSupported": permanent(_N),
        "aiosmtplib.errors.SMTPConnectError": _DOWN,
        "aiosmtplib.errors.SMTPTimeoutError": _DOWN,
        "aiosmtplib.errors.SMTPConnectResponseError": _smtp_reply,
        "ftplib.error_temp": _ftp_temporary,
        "ftplib.error_perm": _ftp_permanent,
        "ftplib.error_reply": _ftp_temporary,
        "ftplib.error_proto": transient(_N),
        "ftplib.Error": _ftp_temporary,
        "aioftp.errors.StatusCodeError": _ftp_reply,
        **under("aioftp", permanent(_F), "PathIsNotAbsolute PathIsNotFileOrDir"),
        **under("aioftp", transient(_N), "NoAvailablePort PathIOError AIOFTPException"),
        "poplib.error_proto": _pop_error,
        "imaplib.IMAP4.abort": _imap_abort,
        "imaplib.IMAP4.error": _imap_error,
        "imaplib.IMAP4.readonly": permanent(_B),
        **under("imapclient", _NOT_ALLOWED, "LoginError IllegalStateError"),
        **under("imapclient", _MISUSE, "CapabilityError InvalidCriteriaError"),
        "imapclient.exceptions.ProtocolError": permanent(_P),
        **under("aioimaplib", _DOWN, "Abort CommandTimeout AioImapException"),
        "nntplib.NNTPError": _nntp_reply,
        "nntplib.NNTPDataError": permanent(_P),
        "nntplib.NNTPProtocolError": transient(_N),
        **under("exchangelib", _DOWN, "TransportError ErrorTimeoutExpired ErrorInternalServerError"),
        **under(
            "exchangelib",
            _DOWN,
            """RateLimitError ErrorServerBusy ErrorTooManyObjectsOpened ErrorConnectionFailed
            ErrorMailboxStoreUnavailable ErrorInternalServerTransientError ErrorExceededConnectionCount
            ErrorNoRespondingCASInDestinationSite ErrorConnectionFailedTransientError ErrorNotEnoughMemory
            ErrorInsufficientResources ErrorBatchProcessingStopped ErrorMailboxMoveInProgress""",
        ),
        **under("exchangelib", _NOT_ALLOWED, "UnauthorizedError ErrorAccessDenied ErrorNonExistentMailbox"),
        **under(
            "exchangelib", permanent(_B), "ErrorItemNotFound ErrorFolderNotFound DoesNotExist ResponseMessageError"
        ),
    },
)
