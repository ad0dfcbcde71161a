"""Death at every step: a scenario is run once to list its I/O, then once per step with a SIGKILL there; and a soak."""
