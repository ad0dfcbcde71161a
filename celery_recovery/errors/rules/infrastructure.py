"""Clients of infrastructure and storage: Kubernetes, Docker, Vault, Consul, MinIO, Dropbox, Box, WebDAV."""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, number
from celery_recovery.errors.rules.aws import by_code
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.stated import by_own_status, headers_of, stated, status_of, under
from celery_recovery.errors.rules.status import by_status

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
_INVALID = permanent(_V)
_REFUSED = permanent(_B)
_CONFIGURATION = permanent(_S, severity=_HIGH)


def _kubernetes(exc: Any) -> Answer:
    """ApiException: 409 is mostly a write against an older version ("apply your changes to the latest version")."""
    status = number(attr(exc, "status"))
    if status == 0 or status is None:
        return _DOWN
    headers = headers_of(exc)
    body = str(attr(exc, "body"))[:2000]
    if status == 409 and "AlreadyExists" not in body and "object has been modified" in body:
        return transient(_S, "HTTP 409", rule="status.409.modified")
    if status == 500 and "etcdserver: request timed out" in body:
        return _DOWN
    return by_status(status, headers)


def _hetzner(exc: Any) -> Answer:
    """By the code; "conflict" is a resource that changed during the request: "please retry", say the API's docs."""
    if attr(exc, "code") in ("conflict", "locked"):
        return transient(_S, str(attr(exc, "code")), rule="conflict")
    return None


def _or_status(otherwise: Verdict) -> Look:
    def look(exc: Any) -> Answer:
        return by_own_status(exc) or otherwise

    return look


def _docker(exc: Any) -> Answer:
    """docker.errors.APIError: a real HTTP error of the daemon; without a response it never got there."""
    status = status_of(exc)
    return (by_status(status, headers_of(exc)) if status else None) or Through(exc.__cause__, _DOWN)


def _docker_base(exc: Any) -> Answer:
    """Plain DockerException, mostly "Error while fetching server API version": no socket of a daemon (yet)."""
    text = str(exc)
    if "PermissionError" in text:
        return _NOT_ALLOWED
    return _DOWN if "Error while fetching server API version" in text else Through(exc.__cause__, _CONFIGURATION)


def _container(exc: Any) -> Verdict:
    """A container that ended badly: 137 was killed (by memory, mostly); the rest is the program's affair."""
    status = number(attr(exc, "exit_status"))
    if status == 137:
        return transient(ErrorType.MEMORY, "exit 137", severity=_HIGH)
    return Verdict(_S, status in (125, 143), None if status is None else f"exit {status}")


_VAULT = {
    **under("hvac", _DOWN, "InternalServerError VaultDown BadGateway RateLimitExceeded"),
    **under("hvac", _NOT_ALLOWED, "Unauthorized Forbidden"),
    **under("hvac", _INVALID, "InvalidRequest ParamValidationError UnsupportedOperation"),
    **under("hvac", _REFUSED, "InvalidPath"),
    **under("hvac", transient(_N), "PreconditionFailed"),  # 412: the standby has not seen the write yet
    **under("hvac", permanent(_N, severity=_HIGH), "VaultNotInitialized"),
    **under("hvac", _or_status(_DOWN), "UnexpectedError VaultError"),
}


def _s3(exc: Any) -> Answer:
    """Minio speaks S3: the same codes as Amazon's."""
    code = attr(exc, "code")
    code = code if isinstance(code, str) else attr(exc, "_code")
    verdict = by_code(code)
    status = status_of(exc, "status_code", "status") or number(attr(attr(exc, "response"), "status"))
    headers = attr(attr(exc, "response"), "headers")
    return stated(verdict, code, headers) if verdict else by_status(status, headers)


def _dropbox_limit(exc: Any) -> Verdict:
    backoff = attr(exc, "backoff")
    return stated(transient(_N, "HTTP 429"), wait=float(backoff) if isinstance(backoff, (int, float)) else None)


def _dropbox_api(exc: Any) -> Answer:
    """ApiError (409): a union tells what of the request could not be done."""
    text = str(attr(exc, "error"))[:500]
    if "too_many_write_operations" in text or "internal_error" in text:
        return transient(_N, "HTTP 409")
    return permanent(_F if "insufficient_space" in text else _B, "HTTP 409")


def _box(exc: Any) -> Answer:
    response = attr(exc, "response_info") or attr(exc, "network_response")
    status = number(attr(exc, "status")) or number(attr(response, "status_code"))
    return by_status(status, attr(response, "headers") or headers_of(exc))


def _webdav(exc: Any) -> Answer:
    return by_status(attr(exc, "code"))


FAMILY = Family(
    name="infrastructure",
    classes={
        **under("hcloud", _hetzner, "APIException"),
        **{
            key: answer
            for package in ("kubernetes", "kubernetes_asyncio")
            for key, answer in {
                **under(package, _kubernetes, "ApiException DynamicApiError"),
                **under(package, _REFUSED, "ResourceNotFoundError ResourceNotUniqueError FailToCreateError"),
                **under(package, _CONFIGURATION, "ConfigException KubernetesValidateMissing VersionNotSupportedError"),
                **under(package, _INVALID, "ApiTypeError ApiValueError ApiKeyError ApiAttributeError OpenApiException"),
            }.items()
        },
        "docker.errors.APIError": _docker,
        "docker.errors.DockerException": _docker_base,
        "docker.errors.ImageNotFound": _REFUSED,
        "docker.errors.ContainerError": _container,
        **under("docker", _REFUSED, "BuildError ImageLoadError NullResource ContextNotFound ContextAlreadyExists"),
        **under(
            "docker",
            _INVALID,
            "InvalidArgument InvalidRepository InvalidVersion MissingContextParameter DeprecatedMethod",
        ),
        **under("docker", _CONFIGURATION, "InvalidConfigFile TLSParameterError StoreError ContextException"),
        **under("docker", _DOWN, "StreamParseError SocketError"),
        **_VAULT,
        **under("minio", _s3, "S3Error MinioAdminException"),
        **under("minio", _or_status(_DOWN), "InvalidResponseError ServerError"),
        **under("minio", _INVALID, "MinioException"),
        "dropbox.exceptions.RateLimitError": _dropbox_limit,
        "dropbox.exceptions.ApiError": _dropbox_api,
        "dropbox.exceptions.InternalServerError": _DOWN,
        "dropbox.exceptions.AuthError": _NOT_ALLOWED,
        "dropbox.exceptions.BadInputError": _INVALID,
        "dropbox.exceptions.PathRootError": _REFUSED,
        "dropbox.exceptions.HttpError": _or_status(_DOWN),
        **under("dropbox", _NOT_ALLOWED, "NotApprovedException CsrfException BadStateException"),
        **under("dropbox", _INVALID, "BadInputException BadRequestException"),
        **under("dropbox", _DOWN, "ProviderException TransferError"),
        **under("box_sdk_gen", _box, "BoxAPIError"),
        **under("box_sdk_gen", _or_status(_DOWN), "BoxSDKError"),
        **under("boxsdk", _box, "BoxAPIException"),
        **under("boxsdk", _NOT_ALLOWED, "BoxOAuthException"),
        **under("boxsdk", _DOWN, "BoxNetworkException"),
        **under("boxsdk", _INVALID, "BoxValueError BoxException"),
        **under("webdav3", _DOWN, "NoConnection ConnectionException NotConnection"),
        **under("webdav3", transient(_F), "ResourceLocked"),
        **under("webdav3", transient(_F, severity=_HIGH), "NotEnoughSpace"),
        **under("webdav3", _REFUSED, "NotFound"),
        **under("webdav3", _INVALID, "NotValid MethodNotSupported"),
        **under("webdav3", _webdav, "ResponseErrorCode"),
        **under("webdav4", _or_status(_REFUSED), "ClientError HTTPError"),
        **under("hdfs", _or_status(_DOWN), "HdfsError"),
    },
)
