"""Sockets, names and TLS: what lies under every client.

Names that do not resolve count as transient: in clusters a resolver that is not ready yet answers just so. Certificates
that do not verify, and mistakes in the call itself (unknown service, unknown address family), are permanent.
"""

from __future__ import annotations

import socket
from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import args_of, attr, text_of
from celery_recovery.errors.rules.rule import Answer, Family, Verdict, each, permanent, transient

__all__ = ("FAMILY", "NETWORK_FAULT", "TLS_UNTRUSTED", "by_tls_text")

_N, _S, _V, _P = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION, ErrorType.PARSING
_HIGH = ErrorSeverity.HIGH

#: Something between us and the peer, not known in detail.
NETWORK_FAULT = transient(_N)
#: The peer's certificate, or ours, is not accepted.
TLS_UNTRUSTED = permanent(_N, "CERTIFICATE_VERIFY_FAILED", severity=_HIGH, rule="tls.untrusted")
_TLS_MISFIT = permanent(_N, "TLS", severity=_HIGH, rule="tls.misfit")
_TLS_BROKEN = transient(_N, "TLS", rule="tls.broken")

# getaddrinfo(3). Built by name: the numbers differ between systems.
_RESOLVER: dict[str, Verdict] = {
    "EAI_AGAIN": transient(_N),
    "EAI_NONAME": transient(_N),
    "EAI_NODATA": transient(_N),
    "EAI_ADDRFAMILY": permanent(_N),
    "EAI_FAIL": permanent(_N),
    "EAI_SYSTEM": transient(_N),
    "EAI_MEMORY": transient(ErrorType.MEMORY),
    "EAI_OVERFLOW": permanent(_V),
    "EAI_SERVICE": permanent(_N),
    "EAI_FAMILY": permanent(_N),
    "EAI_SOCKTYPE": permanent(_N),
    "EAI_BADFLAGS": permanent(_N),
}
_BY_EAI = {
    number: Verdict(verdict.error_type, verdict.retryable, name, rule=f"dns.{name}")
    for name, verdict in _RESOLVER.items()
    if (number := getattr(socket, name, None)) is not None
}
# gethostbyname(3): 1 HOST_NOT_FOUND, 2 TRY_AGAIN, 3 NO_RECOVERY, 4 NO_DATA.
_BY_HERROR = {1: "HOST_NOT_FOUND", 2: "TRY_AGAIN", 3: "NO_RECOVERY", 4: "NO_DATA"}
# c-ares, as pycares and aiodns give it in args[0].
_ARES_PERMANENT = {5, 7, 8, 9, 10, 14, 17, 18, 19, 20}
_ARES_NAMES = {1: "ARES_ENODATA", 2: "ARES_EFORMERR", 3: "ARES_ESERVFAIL", 4: "ARES_ENOTFOUND", 11: "ARES_ECONNREFUSED",
               12: "ARES_ETIMEOUT"}  # fmt: skip

# Words of OpenSSL's reasons (upper case, underscores), looked for in order.
_TLS_WORDS: tuple[tuple[str, Verdict], ...] = (
    ("CERTIFICATE_VERIFY_FAILED", TLS_UNTRUSTED),
    ("HOSTNAME", TLS_UNTRUSTED),
    ("UNKNOWN_CA", TLS_UNTRUSTED),
    ("CERTIFICATE_EXPIRED", TLS_UNTRUSTED),
    ("CERTIFICATE_REVOKED", TLS_UNTRUSTED),
    ("CERTIFICATE_UNKNOWN", TLS_UNTRUSTED),
    ("BAD_CERTIFICATE", TLS_UNTRUSTED),
    ("CERTIFICATE_REQUIRED", TLS_UNTRUSTED),
    ("ACCESS_DENIED", TLS_UNTRUSTED),
    ("UNRECOGNIZED_NAME", TLS_UNTRUSTED),
    ("SELF_SIGNED", TLS_UNTRUSTED),
    ("UNEXPECTED_EOF", _TLS_BROKEN),
    ("EOF_OCCURRED", _TLS_BROKEN),
    ("TIMED_OUT", _TLS_BROKEN),
    ("INTERNAL_ERROR", _TLS_BROKEN),
    ("BAD_RECORD_MAC", _TLS_BROKEN),
    ("PROTOCOL_IS_SHUTDOWN", _TLS_BROKEN),
    ("CLOSE_NOTIFY", _TLS_BROKEN),
    ("HANDSHAKE_FAILURE", _TLS_MISFIT),
    ("WRONG_VERSION_NUMBER", _TLS_MISFIT),
    ("HTTP_REQUEST", _TLS_MISFIT),
    ("HTTPS_PROXY_REQUEST", _TLS_MISFIT),
    ("UNKNOWN_PROTOCOL", _TLS_MISFIT),
    ("UNSUPPORTED_PROTOCOL", _TLS_MISFIT),
    ("PROTOCOL_VERSION", _TLS_MISFIT),
    ("INSUFFICIENT_SECURITY", _TLS_MISFIT),
    ("NO_SHARED_CIPHER", _TLS_MISFIT),
    ("NO_CIPHERS", _TLS_MISFIT),
    ("NO_CIPHER_MATCH", _TLS_MISFIT),
    ("NO_PROTOCOLS_AVAILABLE", _TLS_MISFIT),
    ("DH_KEY_TOO_SMALL", _TLS_MISFIT),
    ("KEY_TOO_SMALL", _TLS_MISFIT),
    ("MD_TOO_WEAK", _TLS_MISFIT),
    ("UNSAFE_LEGACY_RENEGOTIATION", _TLS_MISFIT),
    ("KEY_VALUES_MISMATCH", _TLS_MISFIT),
    ("NO_CERTIFICATE", _TLS_MISFIT),
    ("NO_START_LINE", _TLS_MISFIT),
    ("PEM_LIB", _TLS_MISFIT),
    ("BAD_DECRYPT", _TLS_MISFIT),
)


def by_tls_text(text: str) -> Verdict | None:
    """The verdict on a TLS fault told only in words (OpenSSL's reason, or a message that quotes it)."""
    shape = text[:500].upper().replace(" ", "_")
    if shape.startswith("[SYS]") or "_DOESN'T_MATCH" in shape or "FINGERPRINTS_DID_NOT_MATCH" in shape:
        return TLS_UNTRUSTED if "MATCH" in shape else _TLS_BROKEN
    return next((verdict for word, verdict in _TLS_WORDS if word in shape), None)


def _by_tls(exc: Any) -> Answer:
    reason = attr(exc, "reason")
    return (by_tls_text(reason) if isinstance(reason, str) else None) or by_tls_text(text_of(exc)) or _TLS_BROKEN


def _by_pyopenssl(exc: Any) -> Answer:
    return by_tls_text(text_of(exc)) or (_TLS_BROKEN if args_of(exc) and args_of(exc)[0] else _TLS_MISFIT)


def _by_resolver(exc: Any) -> Answer:
    number = attr(exc, "errno")
    return _BY_EAI.get(number, NETWORK_FAULT) if isinstance(number, int) else NETWORK_FAULT


def _by_old_resolver(exc: Any) -> Answer:
    number = attr(exc, "errno")
    name = _BY_HERROR.get(number) if isinstance(number, int) else None
    return Verdict(_N, name != "NO_RECOVERY", name, rule=f"dns.{name}" if name else None)


def _by_ares(exc: Any) -> Answer:
    args = args_of(exc)
    number = args[0] if args and isinstance(args[0], int) else None
    if number is None:
        return NETWORK_FAULT
    return Verdict(_N, number not in _ARES_PERMANENT, _ARES_NAMES.get(number, f"ARES {number}"))


def _by_no_nameservers(exc: Any) -> Answer:
    """SERVFAIL and silence pass; REFUSED by all servers is policy, which does not."""
    text = text_of(exc)
    return permanent(_N, "REFUSED") if "REFUSED" in text and "SERVFAIL" not in text else transient(_N, "SERVFAIL")


_LOST = transient(_N)
_BAD_NAME = permanent(_V)

FAMILY = Family(
    name="network",
    classes={
        "socket.gaierror": _by_resolver,
        "socket.herror": _by_old_resolver,
        "ssl.SSLCertVerificationError": TLS_UNTRUSTED,
        "ssl.CertificateError": TLS_UNTRUSTED,
        "ssl.SSLError": _by_tls,
        **each("ssl", "SSLEOFError SSLZeroReturnError SSLSyscallError", _TLS_BROKEN),
        **each("ssl", "SSLWantReadError SSLWantWriteError", _TLS_BROKEN),
        "OpenSSL.SSL.Error": _by_pyopenssl,
        **each("OpenSSL.SSL", "SysCallError ZeroReturnError WantReadError WantWriteError", _TLS_BROKEN),
        **each("OpenSSL.crypto", "Error X509StoreContextError", TLS_UNTRUSTED),
        **each("service_identity.exceptions", "VerificationError CertificateError", TLS_UNTRUSTED),
        "service_identity.*.VerificationError": TLS_UNTRUSTED,
        "certifi.*.CertificateError": TLS_UNTRUSTED,
        "cryptography.x509.verification.VerificationError": TLS_UNTRUSTED,
        "cryptography.*.VerificationError": TLS_UNTRUSTED,
        "aiodns.error.DNSError": _by_ares,
        "pycares.AresError": _by_ares,
        "pycares.*.AresError": _by_ares,
        # dnspython
        **each("dns.exception", "Timeout", transient(_N, "ETIMEDOUT")),
        **each("dns.resolver", "LifetimeTimeout", transient(_N, "ETIMEDOUT")),
        "dns.resolver.NoNameservers": _by_no_nameservers,
        "dns.resolver.NXDOMAIN": permanent(_N, "NXDOMAIN"),
        **each("dns.resolver", "NoAnswer YXDOMAIN NoRootSOA NotAbsolute NoMetaqueries", permanent(_N)),
        "dns.resolver.NoResolverConfiguration": permanent(ErrorType.SYSTEM),
        **each("dns.query", "BadResponse UnexpectedSource", _LOST),
        "dns.message.Truncated": _LOST,
        **each("dns.exception", "SyntaxError UnexpectedEnd TooBig", _BAD_NAME),
        "dns.exception.FormError": permanent(_P),
        "dns.name.IDNAException": _BAD_NAME,
        "dns.exception.DNSException": permanent(_N),
        "idna.core.IDNAError": _BAD_NAME,
    },
)
