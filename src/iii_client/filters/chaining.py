"""From a surviving edge to a chain: walk the ring both ways, and close it if it closes.

An edge is a pair of neighbouring block values that tier 2 knows. A chance edge has chance neighbours,
which do not chain; a true one goes on, block after block, until a block was edited beyond all probes.
A walk keeps several chains at once, because a block may have a false survivor beside the true one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.bit_table import BitTable
from iii_client.filters.ring_chain import BLOCKS, Words32, tier2_hash

#: From so many blocks on a chain is a candidate as it is, and is looked at deeper: not to find more, which
#: would find more innocents, too, but to close the ring and know the listed hash.
DEEPER_FROM_BLOCKS: Final = 4

#: Chains that a walk keeps a step, those with the fewest flips: a wrong successor ends within a step
#: or two (2^-13 a survivor), so eight are more than chance ever needs.
MAXIMUM_BRANCHES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Survivors:
    """The values of one block that tier 1 knows, and the bits in which each differs from the query."""

    values: Words32
    flips: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """Consecutive blocks `start`, `start` + 1, … (modulo 8) and the values that they chain with."""

    start: int
    values: tuple[int, ...]
    flips: int
    closed: bool

    def __len__(self) -> int:
        return len(self.values)

    def holds(self, block: int, left: int, right: int) -> bool:
        """Whether the edge from `block` to the next is part of this chain."""
        at = (block - self.start) % BLOCKS
        last = len(self.values) - (0 if self.closed else 1)
        return at < last and self.values[at] == left and self.values[(at + 1) % len(self.values)] == right


@dataclass(slots=True, kw_only=True, eq=False)
class _Walk:
    """Chains of one length over the same blocks, one a row of `values`, fewest flips first."""

    start: int
    values: Words32
    flips: NDArray[np.int64]

    @property
    def length(self) -> int:
        return int(self.values.shape[1])


def grow_chain(
    *,
    block: int,
    left: int,
    right: int,
    flips: int,
    tier2: BitTable,
    survivors: Callable[[int, bool], Survivors],
) -> Chain:
    """The longest chain through one edge; of equal ones a closed one, then the one with fewest flips.

    Args:
        block: the edge joins this block and the next.
        left, right: its two values; `flips` bits of them differ from the query.
        tier2: the segment's second tier.
        survivors: the tier-1 survivors of a block at extension depth or, if asked, deeper; at most 256.
    """
    walk = _Walk(
        start=block,
        values=np.array([[left, right]], np.uint32),
        flips=np.array([flips], np.int64),
    )
    # Forward once more: what a short chain did not find there, a longer one may, looking deeper.
    for forward in (True, False, True):
        while walk.length < BLOCKS:
            longer = _step(walk, forward=forward, tier2=tier2, survivors=survivors)
            if longer is None:
                break
            walk = longer
    closed = np.zeros(len(walk.values), np.bool_)
    if walk.length == BLOCKS:
        joint = (walk.start - 1) % BLOCKS
        closed[tier2.survivors(tier2_hash(joint, walk.values[:, -1], walk.values[:, 0]))] = True
    best = int(np.flatnonzero(closed)[0]) if closed.any() else 0
    return Chain(
        start=walk.start,
        values=tuple(int(value) for value in walk.values[best]),
        flips=int(walk.flips[best]),
        closed=bool(closed[best]),
    )


def best_chains(chains: Sequence[Chain]) -> tuple[Chain, ...]:
    """Every distinct closed chain, fewest flips first; if none closed, the longest open one."""
    closed = {_from_block_0(chain): chain for chain in chains if chain.closed}
    if closed:
        return tuple(sorted(closed.values(), key=lambda chain: (chain.flips, _from_block_0(chain))))
    ranked = sorted(chains, key=lambda chain: (-len(chain), chain.flips, chain.start, chain.values))
    return tuple(ranked[:1])


def _from_block_0(chain: Chain) -> tuple[int, ...]:
    turn = -chain.start % BLOCKS
    return chain.values[turn:] + chain.values[:turn]


def _step(
    walk: _Walk, *, forward: bool, tier2: BitTable, survivors: Callable[[int, bool], Survivors]
) -> _Walk | None:
    """All chains one block longer at one end; None when nothing continues any of them."""
    end = (walk.start + walk.length - 1) % BLOCKS
    block = (end + 1 if forward else walk.start - 1) % BLOCKS
    found = survivors(block, walk.length >= DEEPER_FROM_BLOCKS)
    chain = np.repeat(np.arange(len(walk.values)), len(found.values))
    successor = np.tile(np.arange(len(found.values)), len(walk.values))
    if forward:
        hashed = tier2_hash(end, walk.values[chain, -1], found.values[successor])
    else:
        hashed = tier2_hash(block, found.values[successor], walk.values[chain, 0])
    alive = tier2.survivors(hashed)
    if len(alive) == 0:
        return None
    chain, successor = chain[alive], successor[alive]
    flips = walk.flips[chain] + found.flips[successor]
    kept = np.lexsort((found.values[successor], flips))[:MAXIMUM_BRANCHES]
    chain, successor, flips = chain[kept], successor[kept], flips[kept]
    added = found.values[successor][:, None]
    joined = (walk.values[chain], added) if forward else (added, walk.values[chain])
    return _Walk(
        start=walk.start if forward else block,
        values=np.concatenate(joined, axis=1),
        flips=flips,
    )
