"""Which bits of a block to flip, and in which order: one template for every block of every picture.

An edit flips the bits whose coefficient lies close to the median first. So the bits of a block are
ranked by margin, least reliable first, and the cheapest subsets of ranks are tried, a flip of rank r
costing r + 1. The template is a fixed list of such subsets; a picture only says which bit has which rank.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.ring_chain import BLOCK_BITS

Word = TypeVar("Word", np.uint32, np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The subsets of one size, rows `start` to `stop`: each is a parent's row and one higher rank."""

    start: int
    stop: int
    parents: NDArray[np.intp]
    highest: NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Template:
    """The cheapest subsets of 32 ranks; row 0 is the empty one.

    Attributes:
        masks: (rows,) the subsets as bit masks over ranks, ordered by (size, cost, mask).
        members: (rows, 32) the same as booleans.
        flips: (rows,) size of each subset.
        levels: how rows follow from smaller ones.
    """

    masks: NDArray[np.uint32]
    members: NDArray[np.bool_]
    flips: NDArray[np.uint8]
    levels: tuple[Level, ...]

    def expand(self, start: NDArray[Word], words: NDArray[Word]) -> NDArray[Word]:
        """XOR the words of each subset into `start`: the work of one look-up and one XOR a row.

        Args:
            start: (columns,) what the empty subset gives.
            words: (32, columns) the word of each rank.

        Returns:
            (rows, columns). A row is contiguous, so that growing a subset copies whole rows.
        """
        rows = np.empty((len(self.masks), len(start)), start.dtype)
        rows[0] = start
        for level in self.levels:
            grown = rows[level.start : level.stop]
            np.take(rows[: level.start], level.parents, axis=0, out=grown, mode="clip")
            grown ^= words[level.highest]
        return rows


@lru_cache(maxsize=8)
def cheapest_subsets(rows: int) -> Template:
    """The `rows` cheapest subsets of ranks 0 to 31; of equal cost those with the smaller mask first."""
    by_cost = _subsets_by_cost(_cost_reached_by(rows))
    cheapest = [mask for masks in by_cost for mask in sorted(masks)][:rows]
    cheapest.sort(key=int.bit_count)  # stable: a subset follows all smaller ones, cheapest first
    row_of = {mask: row for row, mask in enumerate(cheapest)}
    levels = []
    sizes = [mask.bit_count() for mask in cheapest]
    for size in range(1, sizes[-1] + 1):
        start = sizes.index(size)
        stop = start + sizes.count(size)
        # Without its highest rank a subset is cheaper, so it is always among the cheapest, too.
        highest = [mask.bit_length() - 1 for mask in cheapest[start:stop]]
        parents = [row_of[mask ^ 1 << rank] for mask, rank in zip(cheapest[start:stop], highest, strict=True)]
        levels.append(
            Level(
                start=start,
                stop=stop,
                parents=np.array(parents, np.intp),
                highest=np.array(highest, np.intp),
            )
        )
    masks = np.array(cheapest, np.uint32)
    members = (masks[:, None] >> np.arange(BLOCK_BITS, dtype=np.uint32)) & np.uint32(1) != 0
    return Template(masks=masks, members=members, flips=np.array(sizes, np.uint8), levels=tuple(levels))


def _cost_reached_by(rows: int) -> int:
    """The smallest cost up to which there are at least `rows` subsets."""
    most = BLOCK_BITS * (BLOCK_BITS + 1) // 2
    counts = [1] + [0] * most
    for price in range(1, BLOCK_BITS + 1):
        for cost in range(most, price - 1, -1):
            counts[cost] += counts[cost - price]
    total = 0
    for cost, count in enumerate(counts):
        total += count
        if total >= rows:
            return cost
    raise ValueError(f"there are no {rows} subsets of {BLOCK_BITS} ranks")


def _subsets_by_cost(most: int) -> list[list[int]]:
    """All subsets of ranks as masks, grouped by cost from 0 to `most`."""
    by_cost: list[list[int]] = [[0], *([] for _ in range(most))]
    for rank in range(BLOCK_BITS):
        price = rank + 1
        for cost in range(most, price - 1, -1):
            by_cost[cost] += [mask | 1 << rank for mask in by_cost[cost - price]]
    return by_cost
