"""Queries made ready to probe: every value that their blocks may have had, hashed once for all segments."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.chaining import Survivors
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.ring_chain import BLOCK_BITS, BLOCKS, Words32, Words64, block_values, tier1_hash
from iii_client.filters.ring_constants import H3, PERM
from iii_client.filters.template import Template

#: Survivors of one block at extension depth. Normal are 32 and the list's own, some 70 at 10 million.
MAXIMUM_SURVIVORS: Final = 256


@dataclass(slots=True, kw_only=True, eq=False)
class Batch:
    """A few queries. A column is one block of one query: 8 · query + block.

    Attributes:
        template, extension: the subsets of ranks that are flipped, to find a chain and to extend it.
        values: (columns,) block values of the queries.
        base: (columns,) their tier-1 hashes.
        rank_bits, rank_words: (32, columns) the bit of a value that has each rank, and its H3 word.
        hashes: (rows of the template, columns) tier-1 hashes after the flips of each row.
        extended: the same for `extension`, of the columns that were asked for.
    """

    template: Template
    extension: Template
    values: Words32
    base: Words64
    rank_bits: Words32
    rank_words: Words64
    hashes: Words64
    extended: dict[int, Words64] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        bits: NDArray[np.uint8],
        margins: NDArray[np.floating],
        template: Template,
        extension: Template,
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
            extension=extension,
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

    def survivors(self, segment: NearSegment, column: int) -> tuple[Survivors, bool]:
        """Tier-1 survivors of one block at extension depth, at most 256, and whether there were more."""
        if column not in self.extended:
            one = slice(column, column + 1)
            self.extended[column] = self.extension.expand(self.base[one], self.rank_words[:, one])[:, 0]
        rows = segment.tier1.survivors(self.extended[column])
        too_many = len(rows) > MAXIMUM_SURVIVORS
        rows = rows[:MAXIMUM_SURVIVORS]
        values = self.flipped(self.extension, rows, np.full(len(rows), column))
        return Survivors(values=values, flips=self.extension.flips[rows].astype(np.int64)), too_many
