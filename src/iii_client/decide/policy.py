"""From a verdict to an action. Pure.

Where several rows apply to one verdict, the gravest action wins. Whatever a configuration says:

- a near match never blocks unless the service confirmed the *listed* hash (the ring closed) within 31 bits;
- a probable hit that nobody confirmed never blocks because of its look;
- nothing blocks that was published only in categories below the floor;
- nothing is let through because a budget of hits is used up.
"""

from collections.abc import Iterator
from dataclasses import replace

from iii_client.config import PolicyConfig
from iii_client.decide.reading import read_routes, read_table
from iii_client.decide.rows import NOTES, ROW_OF_OUTCOME, ROW_OF_REASON
from iii_client.decide.table import Table, in_any, version_of
from iii_client.model import Action, Category, Match, Outcome, Reason, Ruling, UploadContext, Verdict


class TablePolicy:
    """The default policy: the built-in rows with overrides, floors, own rows and routes.

    Raises:
        ConfigurationError: an override names an unknown row, reason or algorithm, or an action that the row
            may not have.
    """

    def __init__(self, config: PolicyConfig | None = None) -> None:
        config = config or PolicyConfig()
        self._base = read_table(config)
        self._routes = read_routes(config)
        self._version = version_of(self._base, self._routes)

    @property
    def version(self) -> str:
        """Changes whenever a verdict may be ruled otherwise: 12 hexadecimal digits."""
        return self._version

    def table(self, route: str) -> Table:
        """What holds on one route: its own table, or the common one."""
        return self._routes.get(route, self._base)

    def rule(self, verdict: Verdict, context: UploadContext) -> Ruling:
        """The action for a verdict: that of the gravest row that applies."""
        table = self.table(context.route)
        # Of equally grave rows the first one is named, and matches come first.
        ruling = max(_rulings(verdict, table), key=lambda ruling: ruling.action)
        return replace(ruling, shadow=table.shadow)


def _rulings(verdict: Verdict, table: Table) -> Iterator[Ruling]:
    if Reason.ALLOW_LISTED in verdict.reasons:
        # The hoster knows these very bytes: nothing else that is said about them counts.
        yield _row("allow_listed", table)
        return
    reasons = [reason for reason in verdict.reasons if reason not in NOTES]
    if verdict.outcome is Outcome.NO_MATCH:
        yield _row("no_match", table)
    elif not verdict.matches and not reasons:
        yield _row(ROW_OF_OUTCOME[verdict.outcome], table)
    for match in verdict.matches:
        yield from _rulings_of_match(match, verdict, table)
    for reason in reasons:
        yield _ruling_of_reason(reason, verdict, table)


def _row(name: str, table: Table) -> Ruling:
    return Ruling(action=table.rules[name], rule=name)


def _ruling_of_reason(reason: Reason, verdict: Verdict, table: Table) -> Ruling:
    ruling = _row(table.row_of(reason), table)
    unconfirmed = ROW_OF_REASON[reason] == "unconfirmed_no_answer"
    if unconfirmed and not any(hit.hash.algorithm.is_digest for hit in verdict.candidates):
        # Only its look speaks for it, and nobody confirmed that.
        return _capped(ruling, Action.QUARANTINE)
    return ruling


def _rulings_of_match(match: Match, verdict: Verdict, table: Table) -> Iterator[Ruling]:
    """One ruling for each body and category that the match is published under; the gravest will win.

    So a body that the hoster distrusts never softens what another says of the same hash.
    """
    if match.is_test:
        yield _row("matched_test" if match.exact else "matched_test_near", table)
        return
    loose = not match.exact and not _is_close(match, verdict, table)
    kind = "matched_exact" if match.exact else "matched_near_loose" if loose else "matched_near"
    for source, category in _published(match):
        # A match without categories (v1) is not below a floor: nothing was published to judge by.
        floor = _floor((category,) if category else match.categories, table)
        ruling = _row(floor or kind, table)
        own = next((row for row in table.own if row.fits(match, source, category)), None)
        if own is not None:
            ruling = Ruling(action=own.over(ruling.action), rule=own.name)
        if loose:
            ruling = _capped(ruling, Action.QUARANTINE, rule=kind)
        if floor:
            most = table.rules[floor] if floor == "matched_below_both_floors" else Action.QUARANTINE
            ruling = _capped(ruling, most, rule=floor)
        yield ruling


def _published(match: Match) -> list[tuple[str, Category | None]]:
    """Every (body, category) of a match; a body without a category of its own, and none at all, too."""
    told = {category.source for category in match.categories}
    rest = [(source, None) for source in match.sources if source not in told]
    return [*((category.source, category) for category in match.categories), *rest] or [("", None)]


def _floor(categories: tuple[Category, ...], table: Table) -> str:
    """The row of the floor that all published categories are below, or empty."""
    if not categories or any(in_any(category, table.blocking) for category in categories):
        return ""
    held = any(in_any(category, table.quarantining) for category in categories)
    return "matched_below_floor" if held else "matched_below_both_floors"


def _is_close(match: Match, verdict: Verdict, table: Table) -> bool:
    """Whether a near match rests on the listed hash itself, found within the bound."""
    listed = any(hit.hash == match.hash and not hit.own for hit in verdict.candidates)
    return listed and match.distance_bits <= table.near_bits


def _capped(ruling: Ruling, most: Action, *, rule: str = "") -> Ruling:
    return replace(ruling, action=most, rule=rule or ruling.rule) if ruling.action > most else ruling
