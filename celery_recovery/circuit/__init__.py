"""Circuits: one for each remote dependency, shared by all workers; `state.py` says what they do.

`state`, `policy` and `machine` are what a circuit is, in plain Python; `store` is the same in Redis, one script per
operation; `breaker` has `CircuitBreaker`, which user code and tasks go through; `budget` has `RetryBudget`.
"""

from __future__ import annotations
