"""The operating system, sockets, names and TLS."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from celery_recovery.errors import ErrorSeverity, classify
from celery_recovery.errors.rules.os import by_errno
from tests.unit.errors.lookalike import lookalike


def _said(exc: BaseException) -> tuple[str, bool]:
    info = classify(exc)
    return info.error_type.value, info.is_retryable


GROUPS = {
    (
        "network",
        True,
    ): "ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH ENETDOWN ENOTCONN",
    ("network", False): "EMSGSIZE EAFNOSUPPORT EPROTONOSUPPORT ENOTSOCK",
    ("system", True): "EAGAIN EINTR EMFILE ENFILE EDEADLK ENOLCK",
    ("filesystem", True): "EBUSY ETXTBSY ESTALE ENOSPC EDQUOT EIO",
    ("filesystem", False): "ENOENT EACCES EPERM EROFS EEXIST EISDIR ENOTDIR ENOTEMPTY ELOOP ENAMETOOLONG EXDEV EFBIG",
    ("memory", True): "ENOMEM ENOBUFS",
    ("validation", False): "EINVAL E2BIG",
    ("system", False): "ENOSYS ECHILD ESRCH",
}
NUMBERS = [
    (name, expected)
    for expected, names in GROUPS.items()
    for name in names.split()
    if getattr(errno, name, None) is not None
]


@pytest.mark.parametrize(("name", "expected"), NUMBERS)
def test_errno(name, expected):
    """The number decides, on whatever OSError carries it, and is named."""
    number = getattr(errno, name)
    for exc in (OSError(number, os.strerror(number)), type("StoreError", (OSError,), {})(number, os.strerror(number))):
        assert _said(exc) == expected
        assert classify(exc).error_code == errno.errorcode[number]


def test_every_errno_of_this_system_is_known_or_of_no_meaning_here():
    """What is left out are numbers of terminals, streams and drivers, fewer than a third."""
    unknown = [name for number, name in errno.errorcode.items() if by_errno(number) is None]
    assert len(unknown) < len(errno.errorcode) / 3


@pytest.mark.parametrize("value", [None, -1, 99_999, "111", 2.0, True, object()])
def test_what_is_no_errno(value):
    """Nothing is read into other values."""
    assert by_errno(value) is None


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (ConnectionRefusedError, ("network", True)),
        (TimeoutError, ("network", True)),
        (BrokenPipeError, ("network", True)),
        (FileNotFoundError, ("filesystem", False)),
        (PermissionError, ("filesystem", False)),
        (InterruptedError, ("system", True)),
        (BlockingIOError, ("system", True)),
    ],
)
def test_classes_without_their_number(cls, expected):
    """`TimeoutError()` is raised without errno everywhere."""
    assert _said(cls()) == expected
    assert _said(cls("just text")) == expected


def test_severities_of_the_system():
    """Full disks are critical; what needs an administrator is high."""
    assert classify(OSError(errno.ENOSPC, "x")).severity is ErrorSeverity.CRITICAL
    assert classify(OSError(errno.EACCES, "x")).severity is ErrorSeverity.HIGH
    assert classify(OSError(errno.ENOENT, "x")).severity is ErrorSeverity.MEDIUM


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (ValueError, ("validation", False)),
        (KeyError, ("schema", False)),
        (TypeError, ("unknown", False)),
        (AttributeError, ("unknown", False)),
        (IndexError, ("unknown", False)),
        (NameError, ("unknown", False)),
        (ZeroDivisionError, ("unknown", False)),
        (NotImplementedError, ("unknown", False)),
        (RecursionError, ("unknown", False)),
        (AssertionError, ("validation", False)),
        (ImportError, ("system", False)),
        (ModuleNotFoundError, ("system", False)),
        (MemoryError, ("memory", True)),
        (EOFError, ("parsing", False)),
        (SyntaxError, ("parsing", False)),
        (UnicodeError, ("parsing", False)),
        (KeyboardInterrupt, ("system", True)),
        (SystemExit, ("system", True)),
        (RuntimeError, ("unknown", True)),
        (Exception, ("unknown", True)),
    ],
)
def test_builtins(cls, expected):
    """What a bare built-in says; what says nothing gets a few attempts."""
    assert _said(cls("x")) == expected


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "retryable"), [("EAI_AGAIN", True), ("EAI_NONAME", True), ("EAI_FAIL", False), ("EAI_SERVICE", False)]
)
def test_resolver(name, retryable):
    """Getaddrinfo's own numbers, which are no errno."""
    info = classify(socket.gaierror(getattr(socket, name), "x"))
    assert (info.error_type.value, info.is_retryable, info.error_code) == ("network", retryable, name)


def test_a_name_that_does_not_resolve_really():
    """`.invalid` never resolves (RFC 6761)."""
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("nothing.invalid", 80)
    assert classify(caught.value).error_type.value == "network"


@pytest.mark.parametrize(
    ("path", "args", "expected"),
    [
        ("dns.resolver.LifetimeTimeout", (), ("network", True)),
        ("dns.resolver.NXDOMAIN", (), ("network", False)),
        ("dns.resolver.NoAnswer", (), ("network", False)),
        ("dns.resolver.NoNameservers", ("All nameservers failed: SERVFAIL",), ("network", True)),
        ("dns.resolver.NoNameservers", ("All nameservers failed: REFUSED",), ("network", False)),
        ("dns.name.LabelTooLong", (), ("network", False)),
        ("aiodns.error.DNSError", (12, "Timeout"), ("network", True)),
        ("aiodns.error.DNSError", (4, "Not found"), ("network", True)),
        ("pycares.AresError", (8, "Misformatted name"), ("network", False)),
    ],
)
def test_resolver_libraries(path, args, expected):
    """Dnspython by class, c-ares by number."""
    base = lookalike("dns.exception.DNSException") if path.startswith("dns.") else Exception
    assert _said(lookalike(path, base)(*args)) == expected


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "retryable"),
    [
        ("CERTIFICATE_VERIFY_FAILED", False),
        ("TLSV1_ALERT_UNKNOWN_CA", False),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", False),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", False),
        ("WRONG_VERSION_NUMBER", False),
        ("UNSUPPORTED_PROTOCOL", False),
        ("UNEXPECTED_EOF_WHILE_READING", True),
        ("TLSV1_ALERT_INTERNAL_ERROR", True),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", True),
        ("SOMETHING_NEW", True),
    ],
)
def test_tls_reasons(reason, retryable):
    """OpenSSL's reason tells trust and versions, which stay, from connections that broke."""
    assert _said(ssl.SSLError(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:1006)")) == ("network", retryable)


@pytest.mark.parametrize(
    ("cls", "retryable"),
    [
        (ssl.SSLCertVerificationError, False),
        (ssl.SSLEOFError, True),
        (ssl.SSLZeroReturnError, True),
        (ssl.SSLSyscallError, True),
        (ssl.SSLWantReadError, True),
    ],
)
def test_tls_classes(cls, retryable):
    """Classes that say it themselves; a certificate is somebody's work."""
    info = classify(cls("x"))
    assert (info.error_type.value, info.is_retryable) == ("network", retryable)
    assert (info.severity is ErrorSeverity.HIGH) is not retryable


def test_a_hostname_that_does_not_match_is_untrusted():
    """Told in words by urllib3's own check."""
    exc = lookalike("OpenSSL.SSL.Error")([("SSL routines", "", "certificate verify failed")])
    assert _said(exc) == ("network", False)
    assert _said(ssl.SSLError("hostname 'a' doesn't match 'b'")) == ("network", False)


def test_a_tls_handshake_with_somebody_who_speaks_no_tls():
    """Really: plain text on the port."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"220 mail.example ESMTP\r\n")
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLError) as caught:
            context.wrap_socket(ours, server_hostname="mail.example")
    assert _said(caught.value) == ("network", False)


def test_a_peer_that_goes_away_in_the_handshake():
    """Really: closed at once."""
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(OSError) as caught:  # noqa: PT011
        ssl.create_default_context().wrap_socket(ours, server_hostname="mail.example")
    assert _said(caught.value) == ("network", True)
