"""Asking a Redis server about itself: INFO, and CONFIG GET where it is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from celery_recovery.doctor.facts import RedisFacts

__all__ = ("Asked", "ask", "merged", "reason")

#: What INFO does not tell.
_SETTINGS = ("save", "appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "min-replicas-to-write", "timeout")

#: A server's facts, and the id of its run, by which two addresses are known to be one server; None: not told.
Asked = tuple[RedisFacts, "str | None"]


def reason(exc: BaseException) -> str:
    """One line about why something could not be asked."""
    text = " ".join(str(exc).split())
    return text[:200] or type(exc).__name__


def ask(client: Any, address: str, role: str) -> Asked:
    """The facts of the server behind a client. Never raises: what could not be had is None, and why is told."""
    roles = frozenset((role,))
    try:
        info = client.info()
    except Exception as exc:  # noqa: BLE001  # any client, any error; the report says which
        return RedisFacts(address=address, roles=roles, error=reason(exc)), None
    settings, refused = _settings(client)
    facts = _facts(address, roles, info, settings, refused)
    return replace(facts, cluster_size=_cluster_size(client, info)), _text(info.get("run_id"))


def _cluster_size(client: Any, info: dict[str, Any]) -> int | None:
    """How many masters share the keys; None: not told."""
    if not _flag(info.get("cluster_enabled", 0)):
        return 0
    try:
        return _number(client.execute_command("CLUSTER INFO").get("cluster_size"))
    except Exception:  # noqa: BLE001  # a user that may not ask
        return None


def _settings(client: Any) -> tuple[dict[str, str], str | None]:
    """What CONFIG GET says of each setting, and why it was refused."""
    told: dict[str, str] = {}
    try:
        for name in _SETTINGS:
            told |= {str(_text(key)): _text(value) or "" for key, value in client.config_get(name).items()}
    except Exception as exc:  # noqa: BLE001  # a provider that forbids it, a proxy that does not know it
        return told, reason(exc)
    return told, None


def _facts(
    address: str, roles: frozenset[str], info: dict[str, Any], settings: dict[str, str], refused: str | None
) -> RedisFacts:
    appendonly = _flag(info.get("aof_enabled", settings.get("appendonly")))
    save = settings.get("save")
    return RedisFacts(
        address=address,
        roles=roles,
        config_error=refused,
        version=_version(info.get("redis_version")),
        replica=None if "role" not in info else _text(info["role"]) in ("slave", "replica"),
        save=save,
        appendonly=appendonly,
        appendfsync=settings.get("appendfsync"),
        failed_writes=_failed(info, appendonly=appendonly, save=save),
        maxmemory=_number(info.get("maxmemory", settings.get("maxmemory"))),
        used_memory=_number(info.get("used_memory")),
        maxmemory_policy=_text(info.get("maxmemory_policy", settings.get("maxmemory-policy"))),
        replicas=_number(info.get("connected_slaves")),
        min_replicas_to_write=_number(settings.get("min-replicas-to-write")),
        idle_timeout=_number(settings.get("timeout")),
    )


def _failed(info: dict[str, Any], *, appendonly: bool | None, save: str | None) -> tuple[str, ...] | None:
    """Which of the writes that this server is meant to do went wrong the last time."""
    meant = [("aof_last_write_status", appendonly), ("rdb_last_bgsave_status", save != "")]
    if not any(name in info for name, _ in meant):
        return None
    return tuple(name for name, wanted in meant if wanted and _text(info.get(name)) == "err")


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _number(value: Any) -> int | None:
    try:
        return int(_text(value) or "")
    except ValueError:
        return None


def _flag(value: Any) -> bool | None:
    return None if value is None else _text(value) in ("1", "yes", "True")


def _version(value: Any) -> tuple[int, ...] | None:
    """`7.0.15` as (7, 0, 15)."""
    parts = (_text(value) or "").split(".")
    return tuple(int(part) for part in parts if part.isdigit()) or None


def merged(asked: Iterable[Asked]) -> tuple[RedisFacts, ...]:
    """One record for each server: several roles, and several databases, may be on the same."""
    servers: dict[str, RedisFacts] = {}
    for facts, run in asked:
        key = run or facts.address
        known = servers.get(key)
        if known is None:
            servers[key] = facts
            continue
        places = known.address.split(" and ")
        address = known.address if facts.address in places else f"{known.address} and {facts.address}"
        servers[key] = replace(known, address=address, roles=known.roles | facts.roles)
    return tuple(servers.values())
