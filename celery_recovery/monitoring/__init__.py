"""What happened, in figures."""

from __future__ import annotations
