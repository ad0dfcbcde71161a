"""The families of rules, in order: of two that claim the same class, or of two protocols that answer, the first counts."""

from __future__ import annotations

from celery_recovery.errors.rules import (
    amqp,
    aws,
    azure,
    browsers,
    compression,
    curl,
    documents,
    files,
    google,
    grpc,
    http,
    kafka,
    learning,
    mail,
    network,
    orm,
    os,
    pipelines,
    plain,
    processes,
    protocols,
    python,
    redis,
    science,
    serialisation,
    sql,
    text,
    twisted,
    validation,
    web,
    websockets,
)
from celery_recovery.errors.rules.rule import Family

__all__ = ("FAMILIES",)

FAMILIES: tuple[Family, ...] = (
    *plain.FAMILIES,  # first: what a library means by one of Python's own exceptions
    python.FAMILY,
    os.FAMILY,
    network.FAMILY,
    http.FAMILY,
    curl.FAMILY,
    websockets.FAMILY,
    twisted.FAMILY,
    web.FAMILY,
    amqp.FAMILY,
    kafka.FAMILY,
    processes.FAMILY,
    sql.FAMILY,
    orm.FAMILY,
    redis.FAMILY,
    aws.FAMILY,
    google.FAMILY,
    azure.FAMILY,
    grpc.FAMILY,
    mail.FAMILY,
    serialisation.FAMILY,
    compression.FAMILY,
    text.FAMILY,
    validation.FAMILY,
    science.FAMILY,
    documents.FAMILY,
    learning.FAMILY,
    pipelines.FAMILY,
    browsers.FAMILY,
    files.FAMILY,
    protocols.FAMILY,  # last: shapes that any SDK may share
)
