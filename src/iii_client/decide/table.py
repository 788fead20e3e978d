"""The effective policy of one upload path: every row's action, the floors, the hoster's own rows. Values."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from iii_client.decide.rows import ROW_OF_REASON
from iii_client.model import Action, Algorithm, Category, Match, Reason

#: Raised whenever this code rules otherwise on the same table: stored conclusions of the old one are void.
_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRow:
    """A `config.MatchRow`, checked: for confirmed matches that fit every condition.

    Attributes:
        hashes: algorithms; empty for any.
        action: what is done instead of the built-in row.
        softens: only when that is milder than the built-in row's action.
    """

    name: str
    sources: tuple[str, ...]
    lists: tuple[str, ...]
    categories: tuple[str, ...]
    hashes: frozenset[Algorithm]
    within_bits: int | None
    action: Action
    softens: bool

    def fits(self, match: Match, source: str, category: Category | None) -> bool:
        """Whether a match, as one body published it in one category, fulfils every condition."""
        return (
            (not self.sources or _fits(self.sources, source))
            and (not self.lists or _fits(self.lists, match.list_version, match.list_version.split("@")[0]))
            and (not self.categories or (category is not None and in_any(category, self.categories)))
            and (not self.hashes or match.hash.algorithm in self.hashes)
            and (self.within_bits is None or match.distance_bits <= self.within_bits)
        )

    def over(self, built_in: Action) -> Action:
        """What it makes of the built-in row's action."""
        return min(built_in, self.action) if self.softens else self.action


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What is done on one upload path.

    Attributes:
        rules: action of every built-in row, and of single reasons that are set in place of their row.
        blocking, quarantining: patterns of the categories that may block, and that may be held.
        near_bits: farthest distance of a near match.
        own: rows of the hoster's own, the first that fits is taken.
        shadow: only watches.
    """

    rules: Mapping[str, Action]
    blocking: tuple[str, ...]
    quarantining: tuple[str, ...]
    near_bits: int
    own: tuple[OwnRow, ...]
    shadow: bool = False

    def row_of(self, reason: Reason) -> str:
        """Name of the row that rules a reason: its own, where the configuration has one."""
        return reason.value if reason.value in self.rules else ROW_OF_REASON[reason]


def version_of(base: Table, routes: Mapping[str, Table]) -> str:
    """12 hexadecimal digits that change whenever a verdict may be ruled otherwise."""
    tables = [_VERSION, _plain(base), {name: _plain(table) for name, table in routes.items()}]
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:12]


def in_any(category: Category, patterns: Iterable[str]) -> bool:
    """Whether a category, written `scheme:code`, fits one of the patterns."""
    return _fits(patterns, f"{category.scheme}:{category.code}")


def _fits(patterns: Iterable[str], *names: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names if name)


def _plain(table: Table) -> list[object]:
    return [
        {name: action.value for name, action in table.rules.items()},
        sorted(table.blocking),
        sorted(table.quarantining),
        table.near_bits,
        # In their order, which decides.
        [
            [
                row.name,
                sorted(row.sources),
                sorted(row.lists),
                sorted(row.categories),
                sorted(row.hashes),
                row.within_bits,
                row.action.value,
                row.softens,
            ]
            for row in table.own
        ],
        table.shadow,
    ]
