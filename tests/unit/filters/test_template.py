"""The template holds the cheapest subsets of ranks, and expanding it is XOR."""

from itertools import combinations

import numpy as np
import pytest

from iii_client.filters.template import cheapest_subsets


def cost(mask: int) -> int:
    return sum(rank + 1 for rank in range(32) if mask >> rank & 1)


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 250])
def test_rows_are_the_cheapest_of_all_subsets(rows: int) -> None:
    # No subset of more than 6 ranks costs less than 28, and 250 rows stay below that.
    every = [
        sum(1 << rank for rank in chosen) for size in range(7) for chosen in combinations(range(20), size)
    ]
    cheapest = sorted(every, key=lambda mask: (cost(mask), mask))[:rows]
    assert cost(cheapest[-1]) < 20
    assert sorted(cheapest_subsets(rows).masks.tolist()) == sorted(cheapest)


@pytest.mark.parametrize("rows", [1, 2048, 65_536])
def test_rows_are_distinct_and_no_subset_is_cheaper_than_its_part(rows: int) -> None:
    masks = cheapest_subsets(rows).masks.tolist()
    assert masks[0] == 0
    assert len(set(masks)) == rows
    known = set(masks)
    assert all(mask & mask - 1 in known for mask in masks)


def test_shorter_template_is_part_of_a_longer_one() -> None:
    assert set(cheapest_subsets(2048).masks.tolist()) < set(cheapest_subsets(16_384).masks.tolist())


def test_expanding_xors_the_words_of_each_subset() -> None:
    template = cheapest_subsets(300)
    rng = np.random.default_rng(5)
    start = rng.integers(0, 2**63, 3, np.uint64)
    words = rng.integers(0, 2**63, (32, 3), np.uint64)
    rows = template.expand(start, words)
    for mask, flips, row in zip(template.masks.tolist(), template.flips.tolist(), rows, strict=True):
        expected = start.copy()
        for rank in range(32):
            if mask >> rank & 1:
                expected ^= words[rank]
        assert (row == expected).all()
        assert flips == mask.bit_count()


def test_more_rows_than_subsets_are_refused() -> None:
    with pytest.raises(ValueError):
        cheapest_subsets(2**32 + 1)
