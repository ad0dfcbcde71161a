"""The command line, through Celery's own plug-in point: `celery -A app recovery …`.

Every Celery process imports this package, workers and beat too, to learn that there is such a command. So nothing is
imported here but click and Celery's command classes; a command's own module is loaded when it is asked for.

The commands talk to `Recovery` and `DeadLetterQueue` and never to Redis, they never decode a pickle, and what they show
of a task's arguments and messages is redacted and made harmless to a terminal.
"""

from __future__ import annotations

from typing import Any

import click

from celery_recovery.cli.command import LazyGroup

__all__ = ("EXIT_CODES", "recovery")


#: How every command may end; `failures.ExitCode` says the same in code.
EXIT_CODES = """\b
Exit codes, of every command:
  0    done
  1    the filter matched nothing, or the letters named are past this
  2    command line or configuration make no sense, or there is nobody to ask
  3    Redis or the broker is away
  4    an id, or a circuit's name, is not known
  5    done in part: some letters were skipped or failed
  6    the question was answered with no; nothing was done
  7    doctor: something was found that can lose or duplicate a task
  8    the replay stopped by itself: its letters died again
  130  interrupted
"""


@click.group(
    name="recovery",
    cls=LazyGroup,
    commands_at={
        "status": "celery_recovery.cli.status:status",
        "report": "celery_recovery.cli.reporting:report",
        "watch": "celery_recovery.cli.watching:watch",
        "dlq": "celery_recovery.cli.dlq:dlq",
        "operations": "celery_recovery.cli.operations:operations",
        "audit": "celery_recovery.cli.auditing:audit",
        "parked": "celery_recovery.cli.parked:parked",
        "circuits": "celery_recovery.cli.circuits:circuits",
        "checkpoints": "celery_recovery.cli.checkpoints:checkpoints",
        "doctor": "celery_recovery.cli.doctor:doctor",
        "alerts": "celery_recovery.cli.alerts:alerts",
        "metrics": "celery_recovery.cli.metrics:metrics",
        "flower": "celery_recovery.cli.flower:flower",
    },
    epilog=EXIT_CODES,
)
def recovery(**_preload: Any) -> None:  # Celery passes a user's preload options to every top-level command
    """Failed tasks: what happened to them, and how to put them back."""
