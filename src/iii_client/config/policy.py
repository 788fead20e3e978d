"""The policy's part of a configuration: shapes and how they are read. What a row does stands in `decide`.

[policy]
blocking_categories = ["interpol-baseline:1"]

[policy.rules]                      # one row, one action
format_not_enabled = "quarantine"

[[policy.matches]]                  # a row of your own, for matches of some bodies, lists, categories
name = "a body I distrust"
sources = ["private-*"]
at_most = "quarantine"

[policy.routes.avatar]              # the same settings again, for one upload path
shadow = true
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from iii_client.config import readers
from iii_client.errors import ConfigurationError

#: `scheme:code` patterns that may block. The names are those of the published schemes: INTERPOL's baseline
#: set (1 is what every member state agrees on), NCMEC's and the IWF's classes. An empty list blocks nothing
#: that was published with a category.
DEFAULT_BLOCKING_CATEGORIES = ("interpol-baseline:1", "ncmec:*", "iwf:*")
#: ... and those that may be held: all. What a list names at all is worth a look.
DEFAULT_QUARANTINE_CATEGORIES = ("*",)

#: PDQ's usual threshold: beyond it, unlike pictures begin to meet. No configuration goes beyond it.
MAX_NEAR_BITS = 31

_LONGEST_NAME = 60
#: A typing error must not become a table of a million rows.
_MAX_MATCH_ROWS = 200
_MAX_ROUTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRow:
    """A row of the hoster's own, for confirmed matches that fit every condition it states.

    Attributes:
        name: what decisions and audit entries call it.
        sources: patterns of the bodies that list it (`nl-*`); empty for any.
        lists: patterns of the lists' names, as the service tells them (`known@*`, or `known` alone).
        categories: patterns (`interpol-baseline:*`).
        hashes: `exact`, `near`, or names of algorithms; empty for any.
        within_bits: at most so far away; None for any distance.
        action: what is done instead of the built-in row; empty when `at_most` is set.
        at_most: the built-in row's action, but never a graver one than this.
    """

    name: str
    sources: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    within_bits: int | None = None
    action: str = ""
    at_most: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfig:
    """What one upload path does otherwise; None is as everywhere else.

    Attributes:
        shadow: this route only watches: nothing is held or refused, everything is recorded.
    """

    rules: Mapping[str, str] = field(default_factory=dict)
    blocking_categories: tuple[str, ...] | None = None
    quarantine_categories: tuple[str, ...] | None = None
    near_bits: int | None = None
    matches: tuple[MatchRow, ...] = ()
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """Overrides of the default policy table.

    Attributes:
        rules: action of a row, or of one reason in place of its row.
        blocking_categories: `scheme:code` patterns that may block: the floor under blocking.
        quarantine_categories: ... and that may be held: the floor under quarantine.
        near_bits: farthest distance of a near match, 0 to 31; beyond it, it is a loose one.
        matches: rows of the hoster's own; the first that fits a match is taken.
        routes: what single upload paths do otherwise, by `UploadContext.route`.
    """

    rules: Mapping[str, str] = field(default_factory=dict)
    blocking_categories: tuple[str, ...] = DEFAULT_BLOCKING_CATEGORIES
    quarantine_categories: tuple[str, ...] = DEFAULT_QUARANTINE_CATEGORIES
    near_bits: int = MAX_NEAR_BITS
    matches: tuple[MatchRow, ...] = ()
    routes: Mapping[str, RouteConfig] = field(default_factory=dict)


def _near_bits(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NEAR_BITS:
        raise ConfigurationError(
            f"{name} must be a whole number from 0 to {MAX_NEAR_BITS}; it is {value!r}",
            hint=f"Beyond {MAX_NEAR_BITS} bits unlike pictures begin to meet: a match there is only held.",
        )
    return value


def _match_rows(name: str, value: Any) -> tuple[MatchRow, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(row, Mapping) for row in value):
        raise ConfigurationError(f"{name} must be a list of tables", hint=f"Write each as [[{name}]].")
    _refuse_many(name, value, _MAX_MATCH_ROWS)
    return tuple(_match_row(f"{name} number {number}", row) for number, row in enumerate(value, 1))


def _match_row(where: str, value: Mapping[str, Any]) -> MatchRow:
    given = readers.table(where, value, _MATCH_ROW)
    if not given.get("name", "").strip():
        raise ConfigurationError(
            f"{where} has no name", hint="Give it one: decisions and audit entries are named after it."
        )
    row = MatchRow(**given)
    if len(row.name) > _LONGEST_NAME or not row.name.isprintable():
        raise ConfigurationError(f"{where}: a name is at most {_LONGEST_NAME} printable characters")
    if bool(row.action) == bool(row.at_most):
        raise ConfigurationError(
            f"{where} ({row.name!r}) must have either action or at_most",
            hint="action replaces what the built-in row does; at_most only softens it.",
        )
    return row


def _routes(name: str, value: Any) -> Mapping[str, RouteConfig]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"[{name}] must be a table", hint=f"Write [{name}.avatar] for a route 'avatar'."
        )
    _refuse_many(name, value, _MAX_ROUTES)
    return {
        route: RouteConfig(**readers.table(f"{name}.{route}", settings, _ROUTE))
        for route, settings in value.items()
    }


def _refuse_many(name: str, given: Any, most: int) -> None:
    if len(given) > most:
        raise ConfigurationError(f"{name} has {len(given)} entries; {most} are taken at most")


_MATCH_ROW = {
    "name": readers.text,
    "sources": readers.texts,
    "lists": readers.texts,
    "categories": readers.texts,
    "hashes": readers.texts,
    "within_bits": _near_bits,
    "action": readers.text,
    "at_most": readers.text,
}
_TABLE = {
    "rules": readers.rules,
    "blocking_categories": readers.texts,
    "quarantine_categories": readers.texts,
    "near_bits": _near_bits,
    "matches": _match_rows,
}
_ROUTE = {**_TABLE, "shadow": readers.flag}

#: The keys of `[policy]` and how each is read.
POLICY = {**_TABLE, "routes": _routes}
