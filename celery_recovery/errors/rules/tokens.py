"""Tokens, signatures and secrets: PyJWT, python-jose, authlib, oauthlib, cryptography, itsdangerous, nacl.

A token that does not verify is a fact about the token. The few faults that are not — a key server that does not answer,
an authorisation server that says "temporarily unavailable" — are named.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr
from celery_recovery.errors.rules.rule import Family, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import each, stated, text_code, under

__all__ = ("FAMILY",)

_N, _V, _B, _S = ErrorType.NETWORK, ErrorType.VALIDATION, ErrorType.BUSINESS_LOGIC, ErrorType.SYSTEM
_HIGH = ErrorSeverity.HIGH
_DOWN = transient(_N)
_INVALID = permanent(_V)
_NOT_ALLOWED = permanent(_N, severity=_HIGH)
_MISUSE = permanent(_S, severity=_HIGH)

# RFC 6749 sections 4.1.2.1 and 5.2, RFC 6750 section 3.1, RFC 8628 section 3.5
_OAUTH: dict[str, Verdict] = {
    **each(_DOWN, "temporarily_unavailable server_error authorization_pending slow_down"),
    **each(
        _NOT_ALLOWED,
        """invalid_client invalid_grant unauthorized_client access_denied invalid_token insufficient_scope
        token_expired expired_token login_required consent_required interaction_required account_selection_required
        missing_token""",
    ),
    **each(
        _INVALID, "invalid_request invalid_scope unsupported_grant_type unsupported_response_type mismatching_state"
    ),
}


def _oauth(exc: Any) -> Verdict:
    code = text_code(attr(exc, "error"))
    return stated(_OAUTH.get(code or "", _NOT_ALLOWED), code)


def _key_server(exc: Any) -> Through:
    """PyJWT could not fetch the keys; why, is in the cause."""
    return Through(exc.__cause__, _DOWN)


FAMILY = Family(
    name="tokens",
    classes={
        "jwt.exceptions.PyJWKClientConnectionError": _key_server,
        "jwt.exceptions.ImmatureSignatureError": transient(_V),  # "not before" a moment that comes
        **under(
            "jwt", _INVALID, "InvalidTokenError PyJWTError InvalidKeyError PyJWKError PyJWKSetError PyJWKClientError"
        ),
        "jwt.exceptions.MissingCryptographyError": _MISUSE,
        **under("jose", _INVALID, "JOSEError JWSError JWTError JWKError JWEError"),
        **under("jwcrypto", _INVALID, "JWException InvalidJWSSignature InvalidJWEData JWTExpired JWKeyNotFound"),
        "authlib.jose.errors.JoseError": _INVALID,
        "joserfc.errors.JoseError": _INVALID,
        "authlib.common.errors.AuthlibBaseError": _oauth,
        "oauthlib.oauth2.rfc6749.errors.OAuth2Error": _oauth,
        "oauthlib.oauth1.rfc5849.errors.OAuth1Error": _oauth,
        "oauthlib.oauth2.rfc6749.errors.TemporarilyUnavailableError": _DOWN,
        "oauthlib.oauth2.rfc6749.errors.ServerError": _DOWN,
        **under("oauthlib", _DOWN, "AuthorizationPendingError SlowDownError"),
        "oauthlib.oauth2.rfc6749.errors.InsecureTransportError": _MISUSE,
        **under("requests_oauthlib", _NOT_ALLOWED, "TokenMissing TokenRequestDenied VerifierMissing"),
        **under(
            "cryptography",
            _INVALID,
            """InvalidToken InvalidSignature InvalidTag InvalidKey InvalidUnwrap
            UnsupportedAlgorithm AttributeNotFound InvalidVersion DuplicateExtension ExtensionNotFound
            UnsupportedGeneralNameType""",
        ),
        **under("cryptography", _MISUSE, "AlreadyFinalized AlreadyUpdated NotYetFinalized InternalError"),
        **under("itsdangerous", _INVALID, "BadData BadSignature SignatureExpired BadHeader BadPayload"),
        **under("nacl", _INVALID, "CryptoError BadSignatureError ValueError TypeError"),
        **under("gnupg", _INVALID, "GPGError"),
    },
)
