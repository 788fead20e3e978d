"""The effective policy of one upload path: configuration over defaults, read strictly. Pure.

Every name is checked when the table is made, so that a typing error is a refusal to start and not a row that
silently does not apply.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from iii_client.config import MatchRow, PolicyConfig, RouteConfig
from iii_client.decide.rows import DEFAULT_RULES, ROW_BY_NAME, ROW_OF_REASON
from iii_client.errors import ConfigurationError
from iii_client.model import Action, Algorithm, Category, Match, Reason

#: Raised whenever this code rules otherwise on the same table: stored conclusions of the old one are void.
_VERSION = 2

_HASH_GROUPS: Mapping[str, frozenset[Algorithm]] = {
    "exact": frozenset(a for a in Algorithm if a.is_digest),
    "near": frozenset(a for a in Algorithm if not a.is_digest),
    **{algorithm.value: frozenset({algorithm}) for algorithm in Algorithm},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRow:
    """A `MatchRow`, checked: for confirmed matches that fit every condition.

    Attributes:
        hashes: algorithms; empty for any.
        action: what is done instead, or None.
        at_most: what the built-in row's action is softened to, or None. One of the two is set.
    """

    name: str
    sources: tuple[str, ...]
    categories: tuple[str, ...]
    hashes: frozenset[Algorithm]
    within_bits: int | None
    action: Action | None
    at_most: Action | None

    def fits(self, match: Match, source: str, category: Category | None) -> bool:
        """Whether a match, as one list published it in one category, fulfils every condition."""
        return (
            (not self.sources or any(fnmatchcase(source, pattern) for pattern in self.sources))
            and (not self.categories or (category is not None and in_any(category, self.categories)))
            and (not self.hashes or match.hash.algorithm in self.hashes)
            and (self.within_bits is None or match.distance_bits <= self.within_bits)
        )

    def over(self, built_in: Action) -> Action:
        """What it makes of the built-in row's action."""
        if self.action is not None:
            return self.action
        return min(built_in, self.at_most or built_in)


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


def read_table(config: PolicyConfig) -> Table:
    """The table of every route that has none of its own.

    Raises:
        ConfigurationError: an unknown row, reason or algorithm, or an action that a row may not have.
    """
    return Table(
        rules={**DEFAULT_RULES, **_read_rules("policy.rules", config.rules)},
        blocking=config.blocking_categories,
        quarantining=config.quarantine_categories,
        near_bits=config.near_bits,
        own=_read_own("policy.matches", config.matches),
    )


def read_routes(config: PolicyConfig) -> Mapping[str, Table]:
    """The tables of the routes that have one of their own.

    Raises:
        ConfigurationError: as `read_table`.
    """
    base = read_table(config)
    return {name: _read_route(f"policy.routes.{name}", route, base) for name, route in config.routes.items()}


def version_of(base: Table, routes: Mapping[str, Table]) -> str:
    """12 hexadecimal digits that change whenever a verdict may be ruled otherwise."""
    tables = [_VERSION, _plain(base), {name: _plain(table) for name, table in routes.items()}]
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:12]


def in_any(category: Category, patterns: Iterable[str]) -> bool:
    """Whether a category, written `scheme:code`, fits one of the patterns."""
    text = f"{category.scheme}:{category.code}"
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _read_route(where: str, route: RouteConfig, base: Table) -> Table:
    rules = _read_rules(f"{where}.rules", route.rules)
    # A row that the route sets covers all its reasons, also those that have an action of their own elsewhere.
    inherited = {
        name: action
        for name, action in base.rules.items()
        if name in DEFAULT_RULES or ROW_OF_REASON[Reason(name)] not in rules
    }
    return Table(
        rules={**inherited, **rules},
        blocking=base.blocking if route.blocking_categories is None else route.blocking_categories,
        quarantining=base.quarantining
        if route.quarantine_categories is None
        else route.quarantine_categories,
        near_bits=base.near_bits if route.near_bits is None else route.near_bits,
        own=(*_read_own(f"{where}.matches", route.matches), *base.own),
        shadow=route.shadow,
    )


def _read_rules(where: str, rules: Mapping[str, str]) -> Mapping[str, Action]:
    return {name: _read_rule(where, name, text) for name, text in rules.items()}


def _read_rule(where: str, name: str, text: str) -> Action:
    reason = _reason(name)
    row = ROW_BY_NAME.get(ROW_OF_REASON.get(reason, "") if reason else name)
    if row is None:
        raise ConfigurationError(
            f"unknown policy row {name!r} in [{where}]",
            hint=_nearest(name, {*ROW_BY_NAME, *ROW_OF_REASON}, "All rows: docs/reference/verdicts.md."),
        )
    action = _read_action(f"policy row {name} in [{where}]", text)
    if action in row.never:
        raise ConfigurationError(f"policy row {name} in [{where}] must not {_VERB[action]}", hint=row.because)
    return action


def _read_own(where: str, rows: tuple[MatchRow, ...]) -> tuple[OwnRow, ...]:
    names: set[str] = set()
    for row in rows:
        if row.name in names or row.name in ROW_BY_NAME or _reason(row.name):
            raise ConfigurationError(
                f"[[{where}]] has a second row named {row.name!r}, or the name is a built-in row's",
                hint="Each row needs a name of its own: decisions and audit entries are told apart by it.",
            )
        names.add(row.name)
    return tuple(_read_own_row(f"{row.name!r} of [[{where}]]", row) for row in rows)


def _read_own_row(where: str, row: MatchRow) -> OwnRow:
    for name in row.hashes:
        if name not in _HASH_GROUPS:
            raise ConfigurationError(
                f"unknown hash {name!r} in policy row {where}",
                hint=_nearest(name, _HASH_GROUPS, f"Known: {', '.join(_HASH_GROUPS)}."),
            )
    return OwnRow(
        name=row.name,
        sources=row.sources,
        categories=row.categories,
        hashes=frozenset().union(*(_HASH_GROUPS[name] for name in row.hashes)),
        within_bits=row.within_bits,
        action=_read_action(f"policy row {where}", row.action) if row.action else None,
        at_most=_read_action(f"at_most of policy row {where}", row.at_most) if row.at_most else None,
    )


def _read_action(where: str, text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise ConfigurationError(
            f"{where} must be allow, quarantine or block; it is {text!r}",
            hint=_nearest(text, [action.value for action in Action], ""),
        ) from None


_VERB = {Action.ALLOW: "allow", Action.QUARANTINE: "hold", Action.BLOCK: "block"}


def _reason(name: str) -> Reason | None:
    try:
        return Reason(name)
    except ValueError:
        return None


def _nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    close = get_close_matches(name, sorted(known), 1)
    return f"Did you mean {close[0]}?" if close else otherwise


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
                sorted(row.categories),
                sorted(row.hashes),
                row.within_bits,
                row.action.value if row.action is not None else "",
                row.at_most.value if row.at_most is not None else "",
            ]
            for row in table.own
        ],
        table.shadow,
    ]
