"""Shells and directories, infrastructure, tokens: rules by class, code and words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_recovery.errors import ErrorType, classify
from tests.unit.errors.lookalike import lookalike


def made(path: str, *bases: type[BaseException], text: str = "m", **attrs: Any) -> Any:
    """An instance of a look-alike with these attributes."""
    error = lookalike(path, *bases)(text)
    for name, value in attrs.items():
        setattr(error, name, value)
    return error


SSHException = lookalike("paramiko.ssh_exception.SSHException")


@pytest.mark.parametrize(
    ("name", "text", "retryable"),
    [
        ("SSHException", "Error reading SSH protocol banner", True),
        ("SSHException", "SSH session not active", True),
        ("SSHException", "Server 'db1' not found in known_hosts", False),
        ("SSHException", "not a valid RSA private key file", False),
        ("AuthenticationException", "Authentication failed.", False),
        ("AuthenticationException", "Authentication timeout.", True),
        ("BadHostKeyException", "m", False),
    ],
)
def test_paramiko_tells_in_words(name: str, text: str, retryable: bool) -> None:
    """Most of its faults share one class."""
    assert classify(made(f"paramiko.ssh_exception.{name}", SSHException, text=text)).is_retryable is retryable


@pytest.mark.parametrize(
    ("code", "error_type", "retryable"),
    [
        (2, ErrorType.FILESYSTEM, False),  # no such file
        (3, ErrorType.FILESYSTEM, False),  # permission denied
        (7, ErrorType.NETWORK, True),  # connection lost
        (17, ErrorType.FILESYSTEM, True),  # lock conflict
    ],
)
def test_sftp_codes(code: int, error_type: ErrorType, retryable: bool) -> None:
    """The numbers of the SFTP draft."""
    info = classify(made("asyncssh.sftp.SFTPError", code=code))
    assert (info.error_type, info.is_retryable) == (error_type, retryable)


@pytest.mark.parametrize(
    ("path", "retryable"),
    [
        ("ldap3.core.exceptions.LDAPBusyResult", True),
        ("ldap3.core.exceptions.LDAPSocketOpenError", True),
        ("ldap3.core.exceptions.LDAPInvalidCredentialsResult", False),
        ("ldap3.core.exceptions.LDAPNoSuchObjectResult", False),
        ("ldap.SERVER_DOWN", True),
        ("ldap.INVALID_CREDENTIALS", False),
        ("ldap.NO_SUCH_OBJECT", False),
    ],
)
def test_directories(path: str, retryable: bool) -> None:
    """The result codes of RFC 4511, as classes."""
    assert classify(made(path)).is_retryable is retryable


@pytest.mark.parametrize(
    ("status", "body", "retryable"),
    [
        (404, "", False),
        (409, '{"reason":"Conflict","message":"the object has been modified"}', True),
        (409, '{"reason":"AlreadyExists"}', False),
        (429, "", True),
        (503, "", True),
        (0, "", True),
    ],
)
def test_kubernetes(status: int, body: str, retryable: bool) -> None:
    """A write against an older version may be repeated; a name that is taken stays taken."""
    error = made("kubernetes.client.exceptions.ApiException", status=status, body=body, headers={})
    assert classify(error).is_retryable is retryable


@pytest.mark.parametrize(
    ("path", "attrs", "retryable"),
    [
        ("hvac.exceptions.VaultDown", {}, True),
        ("hvac.exceptions.Forbidden", {}, False),
        ("hvac.exceptions.InvalidPath", {}, False),
        ("minio.error.S3Error", {"code": "SlowDown"}, True),
        ("minio.error.S3Error", {"code": "NoSuchKey"}, False),
        ("docker.errors.ImageNotFound", {}, False),
        ("docker.errors.ContainerError", {"exit_status": 1}, False),
        ("consul.base.Timeout", {}, True),
        ("box_sdk_gen.box.errors.BoxAPIError", {"response_info": SimpleNamespace(status_code=503, headers={})}, True),
        ("dropbox.exceptions.AuthError", {}, False),
    ],
)
def test_infrastructure(path: str, attrs: dict[str, Any], retryable: bool) -> None:
    """By class, status and S3 code."""
    assert classify(made(path, **attrs)).is_retryable is retryable


def test_a_docker_daemon_that_is_not_there_may_come_back() -> None:
    """Unless it is there and does not let us in."""
    text = "Error while fetching server API version: ('Connection aborted.', {}(2, 'x'))"
    for inside, retryable in (("FileNotFoundError", True), ("PermissionError", False)):
        assert classify(made("docker.errors.DockerException", text=text.format(inside))).is_retryable is retryable


@pytest.mark.parametrize(
    ("path", "attrs", "retryable"),
    [
        ("jwt.exceptions.ExpiredSignatureError", {}, False),
        ("cryptography.fernet.InvalidToken", {}, False),
        ("itsdangerous.exc.SignatureExpired", {}, False),
        ("oauthlib.oauth2.rfc6749.errors.OAuth2Error", {"error": "temporarily_unavailable"}, True),
        ("oauthlib.oauth2.rfc6749.errors.OAuth2Error", {"error": "invalid_grant"}, False),
        ("authlib.common.errors.AuthlibBaseError", {"error": "server_error"}, True),
    ],
)
def test_tokens(path: str, attrs: dict[str, Any], retryable: bool) -> None:
    """A token that does not verify never will; an authorisation server may recover."""
    base = lookalike("jwt.exceptions.InvalidTokenError") if path.startswith("jwt") else Exception
    base = lookalike("itsdangerous.exc.BadData") if path.startswith("itsdangerous") else base
    assert classify(made(path, base, **attrs)).is_retryable is retryable


def test_a_key_server_that_does_not_answer_is_judged_by_its_cause() -> None:
    """PyJWKClientConnectionError is about the network, not about the token."""
    error = made("jwt.exceptions.PyJWKClientConnectionError")
    error.__cause__ = ConnectionRefusedError(111, "refused")
    assert classify(error).is_retryable
