"""Which hash belongs where: into an exact section, or into a near segment and nowhere else.

PDQ hashes of a picture that has something to see (quality 50 or more) go to near segments alone: an exact
section beside them would hold each of them a second time, and every further table of a hash helps whoever
tries to compute the list. All others are matched exactly. A list keeps to one convention of PDQ: the same
pictures under two would be two filters of one list.

Hashes are kept as rows of bytes, so that ten million of them take half a gigabyte and not three.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from iii_client.errors import PublishError
from iii_client.filters.near_segment import CONVENTIONS
from iii_client.filters.ring_chain import MINIMUM_QUALITY
from iii_client.model import Algorithm
from iii_client.publisher.lists import ListEntry

#: Hashes of one algorithm, one a row: (n, width in bytes), ascending and distinct.
Values = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPart:
    """What one body put on one list under one algorithm.

    Attributes:
        list_name, source, algorithm: whose hashes these are.
        values: all of them.
        near: those of them that are for near segments.
    """

    list_name: str
    source: str
    algorithm: Algorithm
    values: Values = field(repr=False)
    near: Values = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedHashes:
    """The distinct hashes of many entries.

    Attributes:
        exact: hashes for the exact sections.
        near: PDQ hashes for near segments, by convention; none of them is in `exact`.
        conventions: the convention of each list that has hashes in `near`.
        parts: the same hashes once more, by list, source and algorithm.
    """

    exact: Mapping[Algorithm, Values] = field(repr=False)
    near: Mapping[Algorithm, Values] = field(repr=False)
    conventions: Mapping[str, Algorithm]
    parts: tuple[ListPart, ...] = ()


def sort_entries(entries: Iterable[ListEntry]) -> SortedHashes:
    """Sort the hashes of these entries; reads them once.

    Where lists disagree about a hash's quality, the highest counts.

    Raises:
        PublishError: a list under both conventions of PDQ.
    """
    gathered: dict[tuple[str, str, Algorithm, bool], bytearray] = defaultdict(bytearray)
    seen: dict[str, Algorithm] = {}
    for entry in entries:
        algorithm = entry.hash.algorithm
        is_near = algorithm in CONVENTIONS and entry.quality >= MINIMUM_QUALITY
        if algorithm in CONVENTIONS and seen.setdefault(entry.list_name, algorithm) is not algorithm:
            raise mixed_conventions(entry.list_name)
        gathered[entry.list_name, entry.source, algorithm, is_near] += entry.hash.value
    packed = {
        key: distinct(np.frombuffer(gathered.pop(key), np.uint8).reshape(-1, key[2].width_bits // 8))
        for key in sorted(gathered)
    }
    near = _of_all_lists(packed, near=True)
    exact = {
        algorithm: values[~is_in(values, near[algorithm])] if algorithm in near else values
        for algorithm, values in _of_all_lists(packed, near=False).items()
    }
    return SortedHashes(
        exact={algorithm: values for algorithm, values in exact.items() if len(values)},
        near=near,
        conventions={name: algorithm for name, _, algorithm, is_near in packed if is_near},
        parts=_parts(packed),
    )


def distinct(values: Values) -> Values:
    """Rows in ascending order of their bytes, each once."""
    # Not `np.unique`, which makes a hash table of texts: 5 GB for ten million.
    words = np.sort(_as_words(values))
    first = np.ones(len(words), np.bool_)
    first[1:] = words[1:] != words[:-1]
    # numpy drops trailing zero bytes only when a bytes object is made: the raw memory keeps them.
    return words[first].view(np.uint8).reshape(-1, values.shape[1])


def is_in(values: Values, others: Values) -> npt.NDArray[np.bool_]:
    """Whether each row is one of the others, to the bit: (n,). Both are of one width."""
    # numpy compares without trailing zero bytes, which changes nothing between values of one width.
    words, known = _as_words(values), np.sort(_as_words(others))
    if not len(known):
        return np.zeros(len(words), np.bool_)
    at = np.minimum(np.searchsorted(known, words), len(known) - 1)
    found: npt.NDArray[np.bool_] = known[at] == words
    return found


def mixed_conventions(list_name: str) -> PublishError:
    """The refusal of a list under two conventions, which names the list and no hash."""
    return PublishError(
        f"the list '{list_name}' has hashes under both conventions of PDQ",
        hint="One convention a list, for ever: the same pictures under two would be two filters of one list.",
    )


def _of_all_lists(
    packed: Mapping[tuple[str, str, Algorithm, bool], Values], *, near: bool
) -> dict[Algorithm, Values]:
    together: dict[Algorithm, list[Values]] = defaultdict(list)
    for (_, _, algorithm, is_near), values in packed.items():
        if is_near is near:
            together[algorithm].append(values)
    # One list is the usual case, and the largest: it need not be copied and sorted again.
    return {
        algorithm: all_of[0] if len(all_of) == 1 else distinct(np.concatenate(all_of))
        for algorithm, all_of in together.items()
    }


def _parts(packed: Mapping[tuple[str, str, Algorithm, bool], Values]) -> tuple[ListPart, ...]:
    parts = []
    for list_name, source, algorithm in sorted({key[:3] for key in packed}):
        none = np.empty((0, algorithm.width_bits // 8), np.uint8)
        near = packed.get((list_name, source, algorithm, True), none)
        exact = packed.get((list_name, source, algorithm, False), none)
        values = (
            distinct(np.concatenate([near, exact]))
            if len(near) and len(exact)
            else (near if len(near) else exact)
        )
        parts.append(
            ListPart(list_name=list_name, source=source, algorithm=algorithm, values=values, near=near)
        )
    return tuple(parts)


def _as_words(values: Values) -> npt.NDArray[np.bytes_]:
    rows = np.ascontiguousarray(values)
    words: npt.NDArray[np.bytes_] = rows.view(f"S{rows.shape[1]}").ravel()
    return words
