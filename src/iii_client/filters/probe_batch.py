"""Queries made ready to probe: every value that their blocks may have had, hashed once for all segments."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.chaining import Survivors
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.ring_chain import (
    BLOCK_BITS,
    BLOCKS,
    MAXIMUM_SURVIVORS_EXTENDED,
    Words32,
    Words64,
    block_values,
    tier1_hash,
)
from iii_client.filters.ring_constants import H3, PERM
from iii_client.filters.template import Template, cheapest_subsets


@dataclass(slots=True, kw_only=True, eq=False)
class Batch:
    """A few queries. A column is one block of one query: 8 · query + block.

    Attributes:
        template: the subsets of ranks that are flipped to find a chain.
        values: (columns,) block values of the queries.
        base: (columns,) their tier-1 hashes.
        rank_bits, rank_words: (32, columns) the bit of a value that has each rank, and its H3 word.
        hashes: (rows of the template, columns) tier-1 hashes after the flips of each row.
        extended: the same for deeper templates, by the columns and rows that were asked for.
    """

    template: Template
    values: Words32
    base: Words64
    rank_bits: Words32
    rank_words: Words64
    hashes: Words64
    extended: dict[tuple[int, int], Words64] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        bits: NDArray[np.uint8],
        margins: NDArray[np.floating],
        template: Template,
    ) -> "Batch":
        """Rank the bits and hash the values of queries given as (n, 256) bits and margins."""
        columns = len(bits) * BLOCKS
        block = np.arange(columns) % BLOCKS
        # Stable, so that ties (a quantised margin) rank alike everywhere.
        order = np.argsort(margins[:, PERM].reshape(columns, BLOCK_BITS), axis=1, kind="stable").T
        values = block_values(bits).ravel()
        base = tier1_hash(block, values)
        rank_words = H3[block, order]
        return cls(
            template=template,
            values=values,
            base=base,
            rank_bits=np.left_shift(np.uint32(1), order.astype(np.uint32)),
            rank_words=rank_words,
            hashes=template.expand(base, rank_words),
        )

    def flipped(self, template: Template, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Words32:
        """Block values after the flips of template rows."""
        flips = np.where(template.members[rows], self.rank_bits[:, columns].T, np.uint32(0))
        values: Words32 = self.values[columns] ^ np.bitwise_or.reduce(flips, axis=1)
        return values

    def survivors(self, segment: NearSegment, column: int, *, probes: int) -> tuple[Survivors, bool]:
        """Tier-1 survivors of one block at this depth, at most 256, and whether there were more."""
        extension = cheapest_subsets(probes)
        if (column, probes) not in self.extended:
            one = slice(column, column + 1)
            hashes = extension.expand(self.base[one], self.rank_words[:, one])
            self.extended[column, probes] = hashes[:, 0]
        rows = segment.tier1.survivors(self.extended[column, probes])
        too_many = len(rows) > MAXIMUM_SURVIVORS_EXTENDED
        rows = rows[:MAXIMUM_SURVIVORS_EXTENDED]
        values = self.flipped(extension, rows, np.full(len(rows), column))
        return Survivors(values=values, flips=extension.flips[rows].astype(np.int64)), too_many
