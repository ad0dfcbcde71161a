"""Acting on many letters: frozen sets, canaries, pausing, and tools that may die.

operation.py  the record of one operation
register.py   all records of one store
canary.py     when a replay is to stop by itself (pure)
runner.py     goes through the set
"""

from __future__ import annotations
