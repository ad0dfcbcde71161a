"""The jobs in a worker that writes down every module that a thread beside the main one has to look for."""

from __future__ import annotations

import sys
import threading
from typing import Any

from tests.apps.jobs import app, ledger

__all__ = ("app",)


class _Noted:
    def find_spec(self, name: str, *_: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            ledger().note("imports", f"{threading.current_thread().name}:{name}")


sys.meta_path.insert(0, _Noted())
