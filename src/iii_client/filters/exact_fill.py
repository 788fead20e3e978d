"""How full an exact section is: a gate that trusts no signature, because deltas come from an online key.

Every false positive tells the service the hash of an innocent file. So a section is installed only if exact
popcounts say that it is no fuller than designed, over all and nowhere in particular: a region set to ones
would name every file whose bits fall there, and an average would not show it.
"""

import math
from typing import Final

from iii_client.errors import GateError
from iii_client.filters.bloom import ExactSection

#: A section is sized to stay below this; pybloom-live's full section has one half of its bits set.
MAX_FILL: Final = 0.52
#: The false-positive rate that the fills give, against the declared one. At 1e-6 it is reached at a fill of
#: .505; a full section has 0.95 of its declared rate.
MAX_RATE_RATIO: Final = 1.2
SLICES: Final = 1024
#: Six standard deviations: a good section fails one time in 10^9 slices.
_SIGMAS = 6.0
#: ... and a few bits, because in a nearly empty section chance counts single bits.
_SPARE_BITS = 6.0
#: Smaller slices would have so few bits that a flood of them hides in the deviation.
_MINIMUM_SLICE_BITS = 4096
#: Below this pybloom-live cuts its digests into 16-bit words, whose remainders are uneven by design.
_EVEN_FROM_BITS = 1 << 15


def check_exact_fill(section: ExactSection, *, name: str, max_fill: float = MAX_FILL) -> None:
    """Refuse a section that is too full, over all or in a slice. Reads all of it.

    Raises:
        GateError: with the section and its fill or rate.
    """
    header = section.header
    size_bits = header.slices * header.bits_per_slice
    fill = section.ones(0, size_bits) / size_bits
    most = min(max_fill, MAX_FILL)
    if fill > most:
        raise GateError(f"section {name} is filled to {fill:.3f}, at most {most:.3f} is allowed")
    rate = false_positive_rate(section)
    if rate > MAX_RATE_RATIO * header.error_rate:
        raise GateError(
            f"section {name} has a false-positive rate of {rate:.1e}, {header.error_rate:.0e} is declared"
        )
    if header.bits_per_slice < _EVEN_FROM_BITS:
        return
    step = max(_MINIMUM_SLICE_BITS, -(-size_bits // SLICES))
    expected = fill * step
    # The last slice may be shorter; it is judged with the whole only.
    worst = max(
        (abs(section.ones(start, start + step) - expected) for start in range(0, size_bits - step + 1, step)),
        default=0.0,
    )
    if worst > _SIGMAS * math.sqrt(expected * (1.0 - fill)) + _SPARE_BITS:
        raise GateError(
            f"a slice of section {name} is {worst / step:.4f} away from the fill of the others, {fill:.4f}"
        )


def false_positive_rate(section: ExactSection) -> float:
    """The chance that an absent key hits, from what is really set: every slice must hit."""
    bits = section.header.bits_per_slice
    return math.prod(
        section.ones(number * bits, (number + 1) * bits) / bits for number in range(section.header.slices)
    )
