"""The families of rules, in order: of two that claim the same class, or of two protocols that answer, the first counts."""

from __future__ import annotations

from celery_recovery.errors.rules import aws, azure, google, grpc, mail, orm, os, python, redis, sql
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
)
