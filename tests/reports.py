"""Reports made for tests."""

from __future__ import annotations

from typing import Any

from celery_recovery.report.model import Headline, Report, Series, Standing
from celery_recovery.report.sections import Group, Kind, Replay, Replays, Step

__all__ = ("DAY", "MADE_AT", "group", "kind", "replay", "report", "steps")

#: When they were made (unix s), and the length of their period.
MADE_AT, DAY = 1_800_000_000.0, 86400.0


def steps(*counts: tuple[int, int], seconds: float = 1.0) -> tuple[Step, ...]:
    """Of the attempts 2, 3, 4 …: how many recovered, and how many failed."""
    return tuple(
        Step(attempt=number, recovered=recovered, failed=failed, failed_seconds=failed * seconds)
        for number, (recovered, failed) in enumerate(counts, 2)
    )


def kind(task: str = "shop.charge", error_type: str = "network", **known: Any) -> Kind:
    counts = dict.fromkeys(("failed_attempts", "recovered", "dead_lettered", "failed"), 0)
    return Kind(**{"task": task, "error_type": error_type, **counts, **known})


def group(fingerprint: str = "1:aa", **known: Any) -> Group:
    plain = {
        "task": "shop.charge", "error_type": "network", "exception": "shop.errors.Down", "message": "", "state": "open",
        "by": "", "deaths": 0, "open": 0, "oldest": 0.0, "first_seen": MADE_AT - 3600, "last_seen": MADE_AT - 60,
        "is_new": False, "is_regression": False, "regressed_in": "",
    }  # fmt: skip
    return Group(**{"fingerprint": fingerprint, **plain, **known})


def replay(**known: Any) -> Replay:
    texts = dict.fromkeys(("by", "via", "reason", "filter", "message"), "")
    counts = dict.fromkeys(("selected", "published", "recovered", "died", "ended", "in_flight"), 0)
    plain = {"id": "a1b2c3d4e5f6a7b8", "state": "done", "created_at": MADE_AT - 60, "by_canary": False}
    return Replay(**{**plain, **texts, **counts, **known})


def report(**known: Any) -> Report:
    """One of a quiet day, but for what is `known`."""
    standing = {"open": 0, "by_state": {}, "oldest": None, "parked": 0, **known.pop("standing", {})}
    plain: dict[str, Any] = {
        "app": "shop", "made_at": MADE_AT, "since": MADE_AT - DAY, "until": MADE_AT, "hours_since": MADE_AT - DAY,
        "tasks": (), "headline": Headline(), "before": None, "kinds": (), "reasons": (), "groups": (),
        "groups_dead": 0, "groups_new": 0, "groups_back": 0, "group_step": 3600.0, "circuits": (),
        "replays": Replays(), "drifts": (), "batches": (), "standing": Standing(**standing),
        "series": Series(begin=MADE_AT - DAY, step=1800.0, failed=(0,) * 48, recovered=(0,) * 48,
                         dead_lettered=(0,) * 48),
    }  # fmt: skip
    return Report(**{**plain, **known})
