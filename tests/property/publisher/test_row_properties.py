"""Rows of bytes behave as sets of bytes do, whatever their last bytes: the slow reference is `set`."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iii_client.publisher.sorting import Values, distinct, is_in

#: Few values, so that repeats happen; zeros at the end, which numpy's texts do not see.
ROWS = st.lists(
    st.sampled_from([b"\0\0\0", b"\0\0\1", b"\1\0\0", b"a\0\0", b"a\0b", b"ab\0", b"abc"]), max_size=12
)


def rows(values: list[bytes]) -> Values:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, 3)


@given(values=ROWS)
def test_distinct_rows_are_a_sorted_set(values: list[bytes]) -> None:
    assert [row.tobytes() for row in distinct(rows(values))] == sorted(set(values))


@given(values=ROWS, others=ROWS)
def test_rows_are_found_as_in_a_set(values: list[bytes], others: list[bytes]) -> None:
    assert is_in(rows(values), rows(others)).tolist() == [value in set(others) for value in values]
