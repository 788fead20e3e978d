"""Which hash belongs where: into an exact section, or into a near segment and nowhere else.

PDQ hashes of a picture that has something to see (quality 50 or more) go to near segments alone: an exact
section beside them would hold each of them a second time, and every further table of a hash helps whoever
tries to compute the list. All others are matched exactly. A list keeps to one convention of PDQ: the same
pictures under two would be two filters of one list.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from iii_client.errors import PublishError
from iii_client.filters.near_segment import CONVENTIONS
from iii_client.filters.ring_chain import MINIMUM_QUALITY
from iii_client.model import Algorithm
from iii_client.publisher.lists import ListEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedHashes:
    """The distinct hashes of many entries.

    Attributes:
        exact: keys of the exact sections, lower-case hexadecimal.
        near: PDQ hashes for near segments, by convention; none of them is in `exact`.
        conventions: the convention of each list that has hashes in `near`.
    """

    exact: Mapping[Algorithm, frozenset[str]] = field(repr=False)
    near: Mapping[Algorithm, frozenset[bytes]] = field(repr=False)
    conventions: Mapping[str, Algorithm]


def sort_entries(entries: Iterable[ListEntry]) -> SortedHashes:
    """Sort the hashes of these entries; reads them once.

    Where lists disagree about a hash's quality, the highest counts.

    Raises:
        PublishError: a list under both conventions of PDQ.
    """
    exact: dict[Algorithm, set[str]] = defaultdict(set)
    near: dict[Algorithm, set[bytes]] = defaultdict(set)
    seen: dict[str, Algorithm] = {}
    near_lists: set[str] = set()
    for entry in entries:
        algorithm = entry.hash.algorithm
        if algorithm in CONVENTIONS and seen.setdefault(entry.list_name, algorithm) is not algorithm:
            raise mixed_conventions(entry.list_name)
        if algorithm in CONVENTIONS and entry.quality >= MINIMUM_QUALITY:
            near[algorithm].add(entry.hash.value)
            near_lists.add(entry.list_name)
        else:
            exact[algorithm].add(entry.hash.hex)
    for algorithm, values in near.items():
        exact[algorithm] -= {value.hex() for value in values}
    return SortedHashes(
        exact={algorithm: frozenset(keys) for algorithm, keys in exact.items() if keys},
        near={algorithm: frozenset(values) for algorithm, values in near.items()},
        conventions={name: seen[name] for name in near_lists},
    )


def mixed_conventions(list_name: str) -> PublishError:
    """The refusal of a list under two conventions, which names the list and no hash."""
    return PublishError(
        f"the list '{list_name}' has hashes under both conventions of PDQ",
        hint="One convention a list, for ever: the same pictures under two would be two filters of one list.",
    )
