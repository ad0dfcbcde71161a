"""Alerts: what people want to be called for, written down in Redis first, and sent by whichever worker is there.

    what happens ─► Alerts ─► outbox (Redis) ─► a worker takes it, for a time ─► sink: callable, webhook, chat, mail
                              the same kind is       │ sent, or tried again later
                              gathered into one      ▼ killed: another worker takes it

Where no sink is configured nothing is written. What is written has no arguments of tasks, and no secrets.
"""

from __future__ import annotations
