"""Reads the policy's configuration into tables, strictly.

Every name is checked when a table is made, so that a typing error is a refusal to start and not a row that
silently does not apply.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from iii_client.config import MatchRow, PolicyConfig, RouteConfig
from iii_client.decide.rows import DEFAULT_RULES, ROW_BY_NAME, ROW_OF_REASON
from iii_client.decide.table import OwnRow, Table
from iii_client.errors import ConfigurationError
from iii_client.model import Action, Algorithm, Reason

_HASH_GROUPS: Mapping[str, frozenset[Algorithm]] = {
    "exact": frozenset(a for a in Algorithm if a.is_digest),
    "near": frozenset(a for a in Algorithm if not a.is_digest),
    **{algorithm.value: frozenset({algorithm}) for algorithm in Algorithm},
}


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
        lists=row.lists,
        categories=row.categories,
        hashes=frozenset().union(*(_HASH_GROUPS[name] for name in row.hashes)),
        within_bits=row.within_bits,
        action=_read_action(f"policy row {where}", row.action or row.at_most),
        softens=bool(row.at_most),
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
