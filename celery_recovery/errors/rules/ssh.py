"""Remote shells and directories: paramiko, asyncssh, Fabric and Invoke, pysftp; ldap3 and python-ldap."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.rules.rule import Answer, Family, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import each, under

__all__ = ("FAMILY",)

_N, _V, _B, _S, _F, _P, _SCHEMA = (
    ErrorType.NETWORK,
    ErrorType.VALIDATION,
    ErrorType.BUSINESS_LOGIC,
    ErrorType.SYSTEM,
    ErrorType.FILESYSTEM,
    ErrorType.PARSING,
    ErrorType.SCHEMA,
)
_HIGH = ErrorSeverity.HIGH
_DOWN = transient(_N)
_NOT_ALLOWED = permanent(_N, severity=_HIGH)
_FILE = permanent(_F)
_INVALID = permanent(_V)
_FAILED = permanent(_S)

# RFC 4254 section 5.1: why a channel could not be opened
_CHANNEL = {
    1: permanent(_N, "OPEN_ADMINISTRATIVELY_PROHIBITED", severity=_HIGH),
    2: transient(_N, "OPEN_CONNECT_FAILED"),
    3: permanent(_N, "OPEN_UNKNOWN_CHANNEL_TYPE"),
    4: transient(_N, "OPEN_RESOURCE_SHORTAGE"),
}
# Of paramiko's plain SSHException only the words tell: these name a disagreement, everything else a lost connection.
_DISAGREE = (
    "not a valid",
    "Incompatible",
    "not found in known_hosts",
    "No hostkey",
    "No authentication methods",
    "Unknown",
)


def _channel(exc: Any) -> Verdict:
    return _CHANNEL.get(number(attr(exc, "code")) or 0, _DOWN)


def _ssh(exc: Any) -> Answer:
    text = str(exc)[:500]
    if any(words in text for words in _DISAGREE):
        return _NOT_ALLOWED
    return Through(exc.__cause__, _DOWN)


def _login(exc: Any) -> Verdict:
    """Paramiko calls a server that fell silent or hung up during authentication a failed authentication, too."""
    text = str(exc)[:500].lower()
    return _DOWN if "timeout" in text or "transport shut down" in text or "eof" in text else _NOT_ALLOWED


def _lost(exc: Any) -> Answer:
    """asyncssh.DisconnectError by its reason (RFC 4253 section 11.1)."""
    code = number(attr(exc, "code"))
    return _DOWN if code in (None, 2, 10, 11, 12, 4, 5) else permanent(_N, f"SSH {code}", severity=_HIGH)


# draft-ietf-secsh-filexfer-13 section 9.1, by number
_SFTP: dict[int, Verdict] = {
    **dict.fromkeys((6, 7), _DOWN),  # no connection, connection lost
    **dict.fromkeys((17, 26, 27, 25), transient(_F)),  # lock conflicts, delete pending
    **dict.fromkeys((2, 3, 9, 10, 11, 12, 13, 18, 19, 20, 21, 22, 24, 30), _FILE),
    **dict.fromkeys((14, 15), transient(_F, severity=_HIGH)),  # no space, over quota
    **dict.fromkeys((1, 5, 8, 23), _INVALID),
    4: _FILE,  # "failure": whatever else is wrong with the file
}


def _sftp(exc: Any) -> Verdict:
    code = number(attr(exc, "code"))
    return _SFTP.get(code or 0, _FILE)


def _exit(exc: Any) -> Verdict:
    """A remote command that failed: 255 is ssh's own, 75 and 111 say "try again"; the rest is the command's affair."""
    result = attr(exc, "result")
    code = number(attr(exc, "exit_status", attr(result, "exited")))
    retryable = code in (255, 75, 111)
    return Verdict(_N if code == 255 else _S, retryable, None if code is None else f"exit {code}")


def _group(exc: Any) -> Answer:
    """fabric.exceptions.GroupException: worth another go if any member's fault is."""
    result = attr(exc, "result")
    failed = attr(result, "failed") or {}
    inner = next((value for value in failed.values() if isinstance(value, BaseException)), None)
    return Through(inner, _FAILED)


def _thread(exc: Any) -> Answer:
    """invoke.exceptions.ThreadException carries the exceptions of its threads."""
    found = attr(exc, "exceptions") or ()
    inner = next((attr(wrapper, "value") for wrapper in found), None)
    return Through(inner if isinstance(inner, BaseException) else None, _FAILED)


_LDAP_DOWN = transient(_N)
# ldap3 names its classes after RFC 4511's result codes; python-ldap does too, in capitals.
_LDAP3: dict[str, Verdict] = {
    **each(
        _LDAP_DOWN,
        """LDAPBusyResult LDAPUnavailableResult LDAPTimeLimitExceededResult LDAPSocketOpenError LDAPSocketCloseError
        LDAPSocketReceiveError LDAPSocketSendError LDAPCommunicationError LDAPSessionTerminatedByServerError
        LDAPResponseTimeoutError LDAPServerPoolExhaustedError LDAPMaximumRetriesError LDAPOperationsErrorResult
        LDAPLCUPResourcesExhaustedResult LDAPStartTLSError LDAPTransactionError LDAPUnknownResponseError""",
    ),
    **each(
        transient(_S), "LDAPCanceledResult LDAPTooLateResult LDAPSASLBindInProgressResult LDAPSASLBindInProgressError"
    ),
    **each(
        _NOT_ALLOWED,
        """LDAPInvalidCredentialsResult LDAPInsufficientAccessRightsResult LDAPStrongerAuthRequiredResult
        LDAPInappropriateAuthenticationResult LDAPAuthMethodNotSupportedResult LDAPConfidentialityRequiredResult
        LDAPAuthorizationDeniedResult LDAPBindError LDAPCertificateError LDAPInvalidTlsSpecificationError
        LDAPSignatureVerificationFailedError LDAPLCUPSecurityViolationResult LDAPUnwillingToPerformResult""",
    ),
    **each(
        permanent(_B),
        """LDAPNoSuchObjectResult LDAPNoSuchAttributeResult LDAPEntryAlreadyExistsResult
        LDAPAttributeOrValueExistsResult LDAPNotAllowedOnNotLeafResult LDAPNotAllowedOnRDNResult
        LDAPConstraintViolationResult LDAPSizeLimitExceededResult LDAPAdminLimitExceededResult
        LDAPAssertionFailedResult LDAPAffectMultipleDSASResult LDAPLoopDetectedResult LDAPAliasProblemResult
        LDAPAliasDereferencingProblemResult LDAPReferralResult LDAPOperationResult""",
    ),
    **each(
        permanent(_SCHEMA),
        """LDAPObjectClassViolationResult LDAPObjectClassModsProhibitedResult LDAPUndefinedAttributeTypeResult
        LDAPNamingViolationResult LDAPSchemaError LDAPObjectClassError LDAPInappropriateMatchingResult""",
    ),
    **each(
        _INVALID,
        """LDAPInvalidDNSyntaxResult LDAPInvalidAttributeSyntaxResult LDAPProtocolErrorResult LDAPExceptionError
        LDAPUnavailableCriticalExtensionResult LDAPNoSuchOperationResult""",
    ),
    **each(
        permanent(_S, severity=_HIGH), "LDAPConfigurationError LDAPSSLNotSupportedError LDAPPackageUnavailableError"
    ),
}
_LDAP: dict[str, Verdict] = {
    **each(_LDAP_DOWN, "SERVER_DOWN BUSY UNAVAILABLE TIMEOUT TIMELIMIT_EXCEEDED CONNECT_ERROR OPERATIONS_ERROR"),
    **each(
        _NOT_ALLOWED,
        """INVALID_CREDENTIALS INSUFFICIENT_ACCESS STRONG_AUTH_REQUIRED INAPPROPRIATE_AUTH AUTH_METHOD_NOT_SUPPORTED
        CONFIDENTIALITY_REQUIRED AUTH_UNKNOWN UNWILLING_TO_PERFORM PROXIED_AUTHORIZATION_DENIED
        X_PROXY_AUTHZ_FAILURE""",
    ),
    **each(
        permanent(_B),
        """NO_SUCH_OBJECT NO_SUCH_ATTRIBUTE ALREADY_EXISTS TYPE_OR_VALUE_EXISTS NOT_ALLOWED_ON_NONLEAF
        NOT_ALLOWED_ON_RDN CONSTRAINT_VIOLATION SIZELIMIT_EXCEEDED ADMINLIMIT_EXCEEDED ASSERTION_FAILED LOOP_DETECT
        ALIAS_PROBLEM REFERRAL NO_RESULTS_RETURNED LDAPError""",
    ),
    **each(
        permanent(_SCHEMA),
        "OBJECT_CLASS_VIOLATION UNDEFINED_TYPE NAMING_VIOLATION NO_OBJECT_CLASS_MODS INAPPROPRIATE_MATCHING",
    ),
    **each(_INVALID, "INVALID_DN_SYNTAX INVALID_SYNTAX PROTOCOL_ERROR FILTER_ERROR PARAM_ERROR NOT_SUPPORTED"),
    **each(permanent(_P), "DECODING_ERROR ENCODING_ERROR"),
    **each(transient(_S), "NO_MEMORY SASL_BIND_IN_PROGRESS CANCELLED TOO_LATE"),
}


FAMILY = Family(
    name="ssh",
    classes={
        "paramiko.ssh_exception.SSHException": _ssh,
        "paramiko.ssh_exception.AuthenticationException": _login,
        "paramiko.ssh_exception.ChannelException": _channel,
        "paramiko.ssh_exception.NoValidConnectionsError": _DOWN,
        "paramiko.ssh_exception.ProxyCommandFailure": _DOWN,
        "paramiko.ssh_exception.MessageOrderError": _DOWN,
        "paramiko.ssh_exception.CouldNotCanonicalize": _DOWN,
        "paramiko.buffered_pipe.PipeTimeout": _DOWN,
        **under(
            "paramiko",
            _NOT_ALLOWED,
            """BadAuthenticationType PartialAuthentication PasswordRequiredException AuthFailure UnableToAuthenticate
            BadHostKeyException IncompatiblePeer""",
        ),
        **under("paramiko", permanent(_S, severity=_HIGH), "ConfigParseError"),
        **under("paramiko", _INVALID, "InvalidHostKey UnknownKeyType"),
        **under("paramiko", permanent(_P), "BERException"),
        "paramiko.packet.NeedRekeyException": _DOWN,
        "paramiko.sftp.SFTPError": _FILE,
        "asyncssh.misc.DisconnectError": _lost,
        **under("asyncssh", _NOT_ALLOWED, "PermissionDenied HostKeyNotVerifiable KeyExchangeFailed IllegalUserName"),
        **under("asyncssh", _NOT_ALLOWED, "ProtocolNotSupported PasswordChangeRequired"),
        **under("asyncssh", _DOWN, "ConnectionLost ServiceNotAvailable MACError CompressionError ChannelListenError"),
        "asyncssh.misc.ChannelOpenError": _channel,
        "asyncssh.misc.ProtocolError": permanent(_N),
        "asyncssh.process.ProcessError": _exit,
        "asyncssh.process.TimeoutError": _DOWN,
        "asyncssh.sftp.SFTPError": _sftp,
        **under(
            "asyncssh", _INVALID, "KeyImportError KeyExportError KeyEncryptionError KeyGenerationError ConfigParseError"
        ),
        **under("asyncssh", permanent(_P), "ASN1Error PacketDecodeError SASLPrepError"),
        "fabric.exceptions.GroupException": _group,
        **under("fabric", _INVALID, "NothingToDo InvalidV1Env"),
        "invoke.exceptions.CommandTimedOut": transient(_S),
        "invoke.exceptions.AuthFailure": _NOT_ALLOWED,
        "invoke.exceptions.Failure": _exit,
        "invoke.exceptions.ThreadException": _thread,
        **under("invoke", _INVALID, "Exit ParseError CollectionNotFound AmbiguousEnvVar UncastableEnvVar WatcherError"),
        **under("pysftp", _NOT_ALLOWED, "CredentialException HostKeysException"),
        "pysftp.exceptions.ConnectionException": _DOWN,
        **under("sshtunnel", _DOWN, "BaseSSHTunnelForwarderError HandlerSSHTunnelForwarderError"),
        **under("netmiko", _NOT_ALLOWED, "NetmikoAuthenticationException NetMikoAuthenticationException"),
        **under("netmiko", _DOWN, "NetmikoTimeoutException NetMikoTimeoutException ReadTimeout ConnectionException"),
        **{f"ldap3.core.exceptions.{name}": verdict for name, verdict in _LDAP3.items()},
        "ldap3.core.exceptions.LDAPException": _INVALID,
        "ldap3.utils.tls_backport.CertificateError": _NOT_ALLOWED,
        **{f"ldap.{name}": verdict for name, verdict in _LDAP.items()},
        **{f"_ldap.{name}": verdict for name, verdict in _LDAP.items()},
        **under("bonsai", _DOWN, "ConnectionError TimeoutError"),
        **under("bonsai", _NOT_ALLOWED, "AuthenticationError InsufficientAccess AuthMethodNotSupported"),
        **under("bonsai", permanent(_B), "NoSuchObjectError AlreadyExists LDAPError"),
    },
)
