"""How long to wait before asking again. Pure: the chance comes from outside."""

import random
from collections.abc import Callable


def back_off_s(
    failures: int,
    *,
    base_s: float,
    most_s: float,
    at_least_s: float = 0.0,
    chance: Callable[[], float] = random.random,
) -> float:
    """Full jitter: any time up to twice as long as after the failure before.

    Hosts that lost the service together do not come back together (Amazon's "Exponential Backoff and
    Jitter" compares the ways to do so).

    Args:
        failures: in a row, from 1.
        base_s: longest wait after the first.
        most_s: longest wait ever, before `at_least_s`.
        at_least_s: what the other side asked for (`Retry-After`); the wait never is shorter.
        chance: a number from 0 to 1.
    """
    # 2**30 × any base is beyond any ceiling; larger powers would only be slow.
    ceiling_s: float = min(most_s, base_s * 2.0 ** min(max(failures, 1) - 1, 30))
    return at_least_s + ceiling_s * chance()
