"""What may be said of a share from some trials, and of a quantile from buckets. Pure arithmetic.

The bounds are one-sided: with 95 % confidence the true share is not above `at_most`, and not below `at_least`. They are
Wilson's score bounds ("Probable Inference, the Law of Succession, and Statistical Inference", 1927); where there was no
success at all the rule of three, `3 / trials`, which is wider there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ("at_least", "at_most", "quantile")

#: Of a normal distribution, 95 % lie below it.
Z = 1.6449


def at_most(successes: int, trials: int) -> float:
    """The share of successes is not above this; 1.0 without trials."""
    if trials <= 0:
        return 1.0
    if successes <= 0:
        return min(3 / trials, 1.0)
    share, z2 = min(successes / trials, 1.0), Z * Z
    spread = Z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return min((share + z2 / (2 * trials) + spread) / (1 + z2 / trials), 1.0)


def at_least(successes: int, trials: int) -> float:
    """The share of successes is not below this; 0.0 without trials."""
    return max(1.0 - at_most(trials - successes, trials), 0.0)


def quantile(share: float, buckets: Mapping[str, int], ends: Sequence[float]) -> float | None:
    """The value below which `share` of all lie, as if each bucket were filled evenly; None without any.

    `buckets`: upper end, as `measures.bucket_of` writes it, -> count. In the last bucket, which has no end, it is where
    that begins: so much or more.
    """
    counts = [buckets.get("+Inf" if math.isinf(end) else f"{end:g}", 0) for end in ends]
    wanted = share * sum(counts)
    if not wanted:
        return None
    below, begin = 0.0, 0.0
    for count, end in zip(counts, ends, strict=True):
        if count and below + count >= wanted:
            return begin if math.isinf(end) else begin + (end - begin) * (wanted - below) / count
        below, begin = below + count, end
    return begin
