"""What to do about letters: of a fault that came with a version, that came back, that is mended, that kills workers."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator

from celery_recovery.report.estimate import at_least, at_most
from celery_recovery.report.model import Advice, Report
from celery_recovery.report.sections import Group, Kind
from celery_recovery.text import age, as_written, duration, moment, short_class

__all__ = (
    "mend_version", "old_letters", "poison", "regression", "replay_resolved", "replays_die", "retries_come_too_late",
)  # fmt: skip

#: `mend_version`: deaths of a new group, all in one version of the code.
VERSION_DEATHS = 20
#: `replay_resolved`: open letters of a group that somebody has resolved.
RESOLVED_OPEN = 20
#: `replays_die`: replayed letters whose end is known; the share of them that recovers, at most.
REPLAYS_ENDED, REPLAYS_SHARE = 20, 0.5
#: `retries_come_too_late`: letters of a kind that ended so, and the share of its letters that they are, at least.
LATE_LETTERS, LATE_SHARE = 20, 0.1
#: `old_letters`: seconds that the oldest has waited.
OLD = 7 * 86400
#: `poison`: one is enough: each has crashed its worker `recovery_max_crashes` times before it became one.
POISON = 1


def mend_version(report: Report) -> Iterator[Advice]:
    """A group that is new, and has died in one version of the code only, which is not the first that is known of."""
    since: dict[str, float] = {}
    for version, at in (pair for group in report.groups for pair in group.versions_since.items()):
        since[version] = min(at, since.get(version, at))
    first = min(since.values(), default=0.0)
    for group in report.groups:
        versions = [version for version in group.versions if version]
        if not group.is_new or len(versions) != 1 or group.deaths < VERSION_DEATHS or group.state != "open":
            continue
        if since.get(versions[0], first) <= first:
            continue
        yield Advice(
            rule="mend_version",
            subject=group.fingerprint,
            says=f"Look at what version {versions[0]} changed in {group.task}: {short_class(group.exception)} came with"
            " it.",
            evidence=f"{group.deaths:,} deaths since {moment(group.first_seen)} UTC, all of them in that version and"
            " none before.",
            setting=_command(f"dlq group {_quoted(group)}"),
            figures={"deaths": group.deaths, "first_seen": group.first_seen},
        )


def regression(report: Report) -> Iterator[Advice]:
    """A group that was resolved has come back. One is enough: somebody has said that it would not."""
    for group in (one for one in report.groups if one.is_regression):
        version = f" in version {group.regressed_in}" if group.regressed_in else ""
        yield Advice(
            rule="regression",
            subject=group.fingerprint,
            says=f"{short_class(group.exception)} of {group.task} is not mended: it came back{version}.",
            evidence="The group had been resolved, and has died again since. In all of the period it died"
            f" {group.deaths:,} time{'s' if group.deaths != 1 else ''}.",
            setting=_command(f"dlq group {_quoted(group)}"),
            figures={"deaths": group.deaths},
        )


def replay_resolved(report: Report) -> Iterator[Advice]:
    """The fault is mended, and its letters still wait."""
    for group in report.groups:
        if group.state != "resolved" or group.open < RESOLVED_OPEN:
            continue
        yield Advice(
            rule="replay_resolved",
            subject=group.fingerprint,
            says=f"Replay the letters of {short_class(group.exception)} in {group.task}, which is resolved.",
            evidence=f"{group.open:,} of its letters are open. Said to be mended by: {group.by or 'somebody'}.",
            setting=_command(f"dlq replay --fingerprint {_quoted(group)} --canary 5"),
            figures={"open": group.open},
        )


def replays_die(report: Report) -> Iterator[Advice]:
    """Most of what a replay published died again."""
    for one in report.replays.latest:
        ended = one.recovered + one.died + one.ended
        if ended < REPLAYS_ENDED or at_most(one.recovered, ended) > REPLAYS_SHARE:
            continue
        careful = "" if one.by_canary else " With --canary the replay would have stopped after a few."
        yield Advice(
            rule="replays_die",
            subject=one.id,
            says="Mend the cause before these letters are replayed again." + careful,
            evidence=f"Of the {ended:,} letters of the replay {one.id[:12]} that have ended, {one.died:,} died again"
            f" and {one.recovered:,} recovered.",
            setting=_command(f"operations show {shlex.quote(one.id[:12])}"),
            figures={"ended": ended, "died": one.died, "recovered": one.recovered},
        )


def retries_come_too_late(report: Report) -> Iterator[Advice]:
    """A deadline, or the message's own `expires`, ends what could have been tried again."""
    for kind in report.kinds:
        letters = sum(kind.reasons.values())
        for reason in ("deadline", "expires"):
            late = kind.reasons.get(reason, 0)
            if late < LATE_LETTERS or at_least(late, letters) < LATE_SHARE:
                continue
            known = f" Tasks that recovered took {duration(kind.p95)} (95 %)." if kind.p95 is not None else ""
            what = "the deadline of its policy" if reason == "deadline" else "the `expires` of its messages"
            yield Advice(
                rule="retries_come_too_late",
                subject=kind.task,
                says=f"Make {what} longer, or the delays of {kind.error_type} failures of {kind.task} shorter.",
                evidence=f"{late:,} of its {letters:,} letters are there because the next attempt would have come too"
                f" late.{known}",
                setting=f"policies={json.dumps({kind.error_type: _sooner(kind, reason)})}",
                place=f"an option of the task {kind.task}",
                figures={"late": late, "letters": letters},
            )


def _sooner(kind: Kind, reason: str) -> dict[str, float]:
    """Twice its deadline, or half its longest delay; a minute where its policy is not known here."""
    if reason == "deadline" and kind.deadline is not None:
        return {"deadline": as_written(kind.deadline * 2)}
    if kind.delays is None:
        return {"max_delay": 60}
    shortest, longest = kind.delays
    return {"max_delay": as_written(max(longest / 2, shortest))}


def poison(report: Report) -> Iterator[Advice]:
    """Tasks that crash their workers."""
    found: Counter[str] = Counter()
    for kind in report.kinds:
        found[kind.task] += kind.reasons.get("poison", 0)
    for task, count in found.most_common():
        if count < POISON:
            return
        yield Advice(
            rule="poison",
            subject=task,
            says=f"Find out what kills workers in {task} before anybody replays it: memory, a native library, a limit.",
            evidence=f"{count:,} letter{'s' if count > 1 else ''} crashed a worker again and again, and with it"
            " whatever else it ran.",
            setting=_command(f"dlq list --reason poison --task {shlex.quote(task)}"),
            figures={"letters": count},
        )


def old_letters(report: Report) -> Iterator[Advice]:
    """Letters that nobody has decided about."""
    oldest = report.standing.oldest
    if oldest is None or report.made_at - oldest < OLD or not report.standing.open:
        return
    since = report.made_at - OLD
    groups = [one for one in report.groups if one.open and one.oldest < since]
    where = _where(max(groups, key=lambda one: one.open)) if groups else ""
    yield Advice(
        rule="old_letters",
        subject="letters",
        says="Decide about the oldest letters: replay, discard, or say in a note what they wait for.",
        evidence=f"The oldest open letter died {age(oldest, report.made_at)} ago ({moment(oldest)} UTC).{where}",
        setting=_command(f"dlq list --until {OLD // 86400}d"),
        figures={"age": report.made_at - oldest},
    )


def _where(group: Group) -> str:
    queue = f", from the queue {next(iter(group.queues))}" if group.queues else ""
    return f" The largest group with such letters is {group.fingerprint} ({group.open:,} open{queue})."


def _quoted(group: Group) -> str:
    return shlex.quote(group.fingerprint)


def _command(words: str) -> str:
    return f"celery -A your_app recovery {words}"
