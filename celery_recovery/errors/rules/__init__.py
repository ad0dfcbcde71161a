"""The families of rules, in order: of two that claim the same class, or of two protocols that answer, the first counts."""

from __future__ import annotations

from celery_recovery.errors.rules import (
    aws,
    azure,
    browsers,
    compression,
    documents,
    files,
    google,
    grpc,
    learning,
    mail,
    orm,
    os,
    pipelines,
    python,
    redis,
    science,
    serialisation,
    sql,
    text,
    validation,
)
from celery_recovery.errors.rules.rule import Family

__all__ = ("FAMILIES",)

FAMILIES: tuple[Family, ...] = (
    python.FAMILY,
    os.FAMILY,
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
)
