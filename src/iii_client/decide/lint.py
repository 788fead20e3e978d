"""What is probably not meant in a policy that can be read. Pure.

An ERROR is a policy that cannot be what anybody wants. A WARNING may be wanted, and then somebody should have
said so; each says what it costs.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from iii_client.config import GuardConfig, PolicyConfig
from iii_client.decide.reading import read_routes, read_table
from iii_client.decide.rows import DEFAULT_RULES, ROW_OF_REASON
from iii_client.decide.table import OwnRow, Table
from iii_client.model import Action, Mode, Reason


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to look at.

    Attributes:
        where: the setting.
        says: what is so, and what it costs.
        todo: what to do.
    """

    level: Level
    where: str
    says: str
    todo: str


#: What goes unseen when a row lets things through, for rows that hold or block by default.
_OPEN_DOORS = {
    "matched_exact": "confirmed copies of listed files are let through",
    "matched_near": "confirmed look-alikes of listed pictures are let through",
    "matched_near_loose": "confirmed look-alikes from farther away are let through",
    "matched_below_floor": "confirmed matches in every category that may not block are let through",
    "unconfirmed_no_answer": "every probable hit is let through while the service is down or slow",
    "unconfirmed_cannot_confirm_digest": "digests that hit are let through where the service cannot answer",
    "unconfirmed_probe_overflow": "a picture that is crafted to have many neighbours is let through",
    "unscannable_content": "whoever damages a picture a little gets it through unseen",
    "unscannable_over_limit": "whoever makes a picture large enough gets it through unseen",
    "format_not_supported": "whoever converts a picture to such a format gets it through unseen",
    "no_filter": "everything is let through until a filter is installed",
    "filter_expired": "new listings are missed for as long as updates fail, and uploads show no sign of it",
}


def lint(
    config: PolicyConfig, *, guard: GuardConfig, mode: Mode, seen_routes: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Everything worth a look, the worst first.

    Args:
        config: the policy.
        guard: the budgets of filter hits.
        mode: shadow or enforce.
        seen_routes: routes that uploads really came by; none when nobody knows.

    Raises:
        ConfigurationError: the policy cannot be read.
    """
    base = read_table(config)
    findings = [*_of_table("policy", base, inherited=None), *_of_guard(guard), *_of_mode(mode)]
    for name, table in read_routes(config).items():
        findings += _of_table(f"policy.routes.{name}", table, inherited=base)
        findings += _of_route(name, table, base, mode=mode, seen_routes=seen_routes)
    return tuple(sorted(findings, key=lambda finding: list(Level).index(finding.level)))


def _of_table(where: str, table: Table, *, inherited: Table | None) -> Iterator[Finding]:
    changed = {
        name: action
        for name, action in table.rules.items()
        if inherited is None or inherited.rules.get(name) is not action
    }
    yield from _of_rules(f"{where}.rules", changed, table)
    if inherited is None or (inherited.blocking, inherited.quarantining) != (
        table.blocking,
        table.quarantining,
    ):
        yield from _of_floors(where, table)
    own = table.own if inherited is None else table.own[: len(table.own) - len(inherited.own)]
    yield from _of_own_rows(f"{where}.matches", own, table)


def _of_rules(where: str, rules: dict[str, Action], table: Table) -> Iterator[Finding]:
    for name, action in rules.items():
        row = name if name in DEFAULT_RULES else ROW_OF_REASON[Reason(name)]
        if action is Action.ALLOW and row in _OPEN_DOORS:
            yield _warning(
                f"{where}.{name}",
                f"fails open: {_OPEN_DOORS[row]}.",
                "Take quarantine, unless losing an upload is worse for you than letting one pass.",
            )
        if row != name and action is table.rules[row]:
            yield _warning(f"{where}.{name}", f"changes nothing: {row} does the same.", "Remove it.")
    if rules.get("no_match", Action.ALLOW) is not Action.ALLOW:
        yield Finding(
            level=Level.ERROR,
            where=f"{where}.no_match",
            says="every innocent upload is held or refused.",
            todo="Remove it. To try the path, upload the test picture (iii-client test-picture).",
        )
    if rules.get("allow_listed", Action.ALLOW) is not Action.ALLOW:
        yield _warning(
            f"{where}.allow_listed",
            "the allow-list has no effect: what you know to be good is held.",
            "Remove it.",
        )
    if rules.get("matched_near") is Action.BLOCK:
        yield _warning(
            f"{where}.matched_near",
            "blocks look-alikes without a person: a picture with a chosen perceptual hash is easy to make.",
            "Take quarantine, or block in an own row for lists that you trust and few bits.",
        )
    if rules.get("matched_test", Action.BLOCK) is Action.ALLOW:
        yield _warning(
            f"{where}.matched_test",
            "the test picture passes: nobody can see whether the path works.",
            "Take block, or quarantine.",
        )


def _of_floors(where: str, table: Table) -> Iterator[Finding]:
    if not table.blocking:
        yield _warning(
            f"{where}.blocking_categories",
            "is empty: nothing that was published with a category is ever blocked.",
            "Name the categories that are illegal where you are, or remove the setting.",
        )
    if "*" in table.blocking or "*:*" in table.blocking:
        yield _warning(
            f"{where}.blocking_categories",
            "holds every category: also what is legal in some places, or only a clue, is blocked outright.",
            "Name the categories that are illegal where you are.",
        )
    for setting, patterns in (
        ("blocking_categories", table.blocking),
        ("quarantine_categories", table.quarantining),
    ):
        for pattern in patterns:
            if ":" not in pattern and "*" not in pattern:
                yield _warning(
                    f"{where}.{setting}",
                    f"'{pattern}' fits no category: they are written scheme:code.",
                    f"Write '{pattern}:*' for all codes of a scheme.",
                )


def _of_own_rows(where: str, own: tuple[OwnRow, ...], table: Table) -> Iterator[Finding]:
    for index, row in enumerate(table.own):
        if row not in own:
            continue
        before = next((other for other in table.own[:index] if _covers(other, row)), None)
        if before is not None:
            yield _warning(
                f"{where} '{row.name}'",
                f"is never reached: '{before.name}' before it fits whatever this one fits.",
                "Put the narrower row first.",
            )
        if row.softens and row.action is Action.BLOCK:
            yield _warning(
                f"{where} '{row.name}'", "changes nothing: block is the gravest action.", "Remove it."
            )
        elif row.action is Action.BLOCK:
            yield from _of_blocking_row(f"{where} '{row.name}'", row, table)
        if row.action is Action.ALLOW:
            yield _warning(
                f"{where} '{row.name}'",
                "fails open: matches that the service confirmed are let through.",
                "Take quarantine, or ask the list's owner to correct it.",
            )


def _of_blocking_row(where: str, row: OwnRow, table: Table) -> Iterator[Finding]:
    if row.categories and not set(row.categories) & set(table.blocking) and "*" not in table.blocking:
        yield _warning(
            where,
            "may never block: its categories are not named in blocking_categories, the floor under blocking.",
            "Name them there, too.",
        )
    if not row.hashes or any(not algorithm.is_digest for algorithm in row.hashes):
        yield _warning(
            where,
            "blocks look-alikes without a person: a picture with a chosen perceptual hash is easy to make.",
            'Add hashes = ["exact"], or take quarantine.',
        )


def _of_guard(guard: GuardConfig) -> Iterator[Finding]:
    for setting in ("uploader_per_hour", "per_hour", "uploaders_per_hash"):
        if getattr(guard, setting) == 0:
            yield _warning(
                f"guard.{setting}",
                "is turned off: a bad list, or a flood, is blocked outright and in bulk.",
                "Raise the number instead of turning it off.",
            )


def _of_mode(mode: Mode) -> Iterator[Finding]:
    if mode is Mode.SHADOW:
        yield _warning(
            "mode",
            "is shadow: every upload passes, decisions are only recorded.",
            "Set it to enforce when the records look right to you.",
        )


def _of_route(
    name: str, table: Table, base: Table, *, mode: Mode, seen_routes: Collection[str]
) -> Iterator[Finding]:
    where = f"policy.routes.{name}"
    if table == base:
        yield _warning(where, "changes nothing: it is as everywhere else.", "Remove it.")
    if table.shadow and mode is Mode.ENFORCE:
        yield _warning(
            f"{where}.shadow",
            "is on: on this route every upload passes, decisions are only recorded.",
            "Remove it when the records look right to you.",
        )
    if seen_routes and name not in seen_routes:
        yield _warning(
            where,
            f"was never used: the records know {', '.join(sorted(seen_routes)[:10])}.",
            "Check the name that your application gives as UploadContext.route.",
        )


def _covers(first: OwnRow, second: OwnRow) -> bool:
    """Whether the first fits whatever the second fits, as far as can be told without patterns."""
    return (
        _wider(first.sources, second.sources)
        and _wider(first.lists, second.lists)
        and _wider(first.categories, second.categories)
        and (not first.hashes or (bool(second.hashes) and second.hashes <= first.hashes))
        and (
            first.within_bits is None
            or (second.within_bits is not None and second.within_bits <= first.within_bits)
        )
    )


def _wider(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return not first or (bool(second) and ("*" in first or set(second) <= set(first)))


def _warning(where: str, says: str, todo: str) -> Finding:
    return Finding(level=Level.WARNING, where=where, says=says, todo=todo)
