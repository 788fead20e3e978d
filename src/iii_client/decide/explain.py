"""The policy in plain sentences, one a row, for whoever answers for it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from iii_client.config import GuardConfig
from iii_client.decide.rows import DEFAULT_RULES, ROW_BY_NAME, ROW_OF_REASON, ROWS
from iii_client.decide.table import OwnRow, Table
from iii_client.model import Action, Reason

_DONE = {
    Action.ALLOW: "let through and recorded",
    Action.QUARANTINE: "held for a person",
    Action.BLOCK: "blocked",
}
#: Rows of which nothing is recorded when they let something through: there would be nothing to tell.
_PLAIN = frozenset({"no_match", "filter_stale"})

OWN_ROWS = "Your own rows for matches: the first that fits is taken"
CATEGORIES = "Categories"
ALWAYS = "Whatever is configured"
GUARD = "Against a bad list and against floods"

LIMITS = (
    "A look-alike is blocked only if the service confirmed the listed hash itself, at most 31 bits away.",
    "A probable hit that nobody confirmed is never blocked because of its look.",
    "Nothing is let through because a budget of hits is used up or because it could not be recorded.",
    "Where several rows apply, the gravest one wins; a list never softens what another list says.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One line of an explanation.

    Attributes:
        group: heading under which it stands.
        row: name of the row; empty for what is no row.
        text: for a person.
        action: what is done; empty for what is no row.
        default: what would be done by default; empty where there is no default.
        changed: whether this is not the default.
    """

    group: str
    row: str
    text: str
    action: str = ""
    default: str = ""
    changed: bool = False


def explain(table: Table, guard: GuardConfig) -> tuple[Sentence, ...]:
    """A table and the budgets, in the order in which a person reads them."""
    return tuple(_sentences(table, guard))


def done(action: Action, row: str = "") -> str:
    """The end of a sentence: `blocked`."""
    return "let through" if action is Action.ALLOW and row in _PLAIN else _DONE[action]


def _sentences(table: Table, guard: GuardConfig) -> Iterator[Sentence]:
    for row in ROWS:
        action = table.rules[row.name]
        about = row.about.format(near_bits=table.near_bits)
        yield Sentence(
            group=row.group.value,
            row=row.name,
            text=f"{about} is {done(action, row.name)}.",
            action=action.value,
            default=row.default.value,
            changed=action is not row.default,
        )
        yield from _single_reasons(row.name, table)
    for own in table.own:
        yield Sentence(
            group=OWN_ROWS,
            row=own.name,
            text=_own_sentence(own),
            action=own.action.value,
            changed=True,
        )
    holdable = tuple(dict.fromkeys([*table.blocking, *table.quarantining]))
    yield Sentence(group=CATEGORIES, row="", text=_floor_sentence("block", table.blocking))
    yield Sentence(group=CATEGORIES, row="", text=_floor_sentence("be held", holdable))
    for text in LIMITS:
        yield Sentence(group=ALWAYS, row="", text=text)
    for text in _guard_sentences(guard):
        yield Sentence(group=GUARD, row="", text=text)


def _single_reasons(row: str, table: Table) -> Iterator[Sentence]:
    for name, action in table.rules.items():
        if name not in DEFAULT_RULES and ROW_OF_REASON[Reason(name)] == row:
            yield Sentence(
                group=ROW_BY_NAME[row].group.value,
                row=name,
                text=f"… and when the reason is {name}, it is {done(action)}.",
                action=action.value,
                default=ROW_BY_NAME[row].default.value,
                changed=True,
            )


def _own_sentence(row: OwnRow) -> str:
    conditions = [
        f"from {_or(row.sources)}" if row.sources else "",
        f"on the list {_or(row.lists)}" if row.lists else "",
        f"in the category {_or(row.categories)}" if row.categories else "",
        f"by {_or(sorted(row.hashes))}" if row.hashes else "",
        f"at most {row.within_bits} bits away" if row.within_bits is not None else "",
    ]
    about = " ".join(["A match", *filter(None, conditions)])
    if row.softens:
        return f"{about} is at most {_DONE[row.action]}, whatever its built-in row says."
    return f"{about} is {_DONE[row.action]}."


def _floor_sentence(verb: str, patterns: tuple[str, ...]) -> str:
    if "*" in patterns or "*:*" in patterns:
        return f"Matches of every category may {verb}."
    if not patterns:
        return f"No match that was published with a category may {verb}."
    return f"Of matches published with a category, only {_or(patterns)} may {verb}."


def _guard_sentences(guard: GuardConfig) -> Iterator[str]:
    yield (
        "Beyond a budget nothing is blocked outright: what hits is held, the service is asked later, and an "
        "alarm goes off."
    )
    if guard.uploader_per_hour:
        yield f"One uploader: {guard.uploader_per_hour} hits an hour."
    if guard.uploaders_per_hash:
        yield f"One hash: {guard.uploaders_per_hash} different uploaders a day."
    if guard.per_hour:
        yield (
            f"All together: {guard.times_median} times the median hour of a week, and at least "
            f"{guard.per_hour}, an hour."
        )
    if not (guard.uploader_per_hour or guard.uploaders_per_hash or guard.per_hour):
        yield "Every budget is turned off."


def _or(names: tuple[str, ...] | list[str]) -> str:
    *most, last = [str(name) for name in names]
    return f"{', '.join(most)} or {last}" if most else last
