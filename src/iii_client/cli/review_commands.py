"""`iii-client review list|decide|overdue|withdrawn`: what only a person can decide."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from iii_client.cli.exits import ExitCode
from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import age, err, joined, out, plural, print_error, print_json_line, safe_text
from iii_client.cli.state import open_state

if TYPE_CHECKING:
    from iii_client.config import Config
    from iii_client.records.cases import Case
    from iii_client.records.operators import Operators
    from iii_client.records.review import Clock, WaitsFor
    from iii_client.records.store import Store
    from iii_client.records.withdrawn import WithdrawnReport

app = typer.Typer(
    no_args_is_help=True,
    help="Cases that wait for a person. Decide by the circumstances; no picture needs to be looked at.",
)

LinesOption = Annotated[bool, typer.Option("--json", help="One JSON object a case on standard output.")]

#: Rows that a person still reads; --json lists all.
MAX_TABLE_ROWS = 200

_MEANS = {
    "no_answer_in_time": "no answer came in time",
    "cannot_be_confirmed": "the service cannot answer about this hash",
    "held_by_guard": "held while a budget of hits was used up",
    "near_match": "looks like a listed picture",
    "held_match": "listed, held by the policy",
    "unscannable_held": "could not be looked at, held by the policy",
    "to_be_given_back": "not listed after all; has no place to go back to",
}


class As(StrEnum):
    """What a person may decide."""

    OK = "ok"
    CONFIRMED = "confirmed"


@app.command("list")
def list_cases(json: LinesOption = False) -> int:
    """List what waits for a person, the oldest first. Exit 3 when there is anything."""
    from iii_client.records.review import cases_for_review

    with open_state() as (_, store), store.reading() as tx:
        found = cases_for_review(tx)
    now = datetime.now(UTC)
    if json:
        for case, why in found:
            print_json_line({**_case_as_json(case), "waits_for": why.value})
    else:
        _print_waiting(found, now)
    return ExitCode.INCOMPLETE if found else ExitCode.NO_MATCH


@app.command()
def decide(
    ref: Annotated[str, typer.Argument(metavar="REF", help="A case reference or an encounter id.")],
    verdict: Annotated[As, typer.Option("--as", help="ok lets it through and gives it back.")],
    note: Annotated[str, typer.Option("--note", help="What the decision rests on. Kept here.")] = "",
    operator: OperatorOption = "",
    second: SecondOption = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Decide a case: the application is told, and with 'ok' what is held goes back to its place."""
    from iii_client.records.cases import find_encounter
    from iii_client.records.review import decide as write

    by = operators(operator, second)
    with open_state() as (config, store):
        with store.transaction() as tx:
            encounter_id = find_encounter(tx, ref)
            case = write(tx, encounter_id, innocent=verdict is As.OK, by=by, note=note, now=datetime.now(UTC))
        given_back = _give_back(config, store, [case], by) if verdict is As.OK else 0
    if json:
        print_json_line({**_case_as_json(case), "given_back": given_back})
    else:
        out.print(f"case {case.name}: {case.outcome_now.value}, {case.action_now.value}")
        if given_back:
            out.print(f"{plural(given_back, 'file')} put back")
    left = sum(held.is_live for held in case.held) - given_back if verdict is As.OK else 0
    if left:
        err.print("still held: iii-client quarantine restore REF --to PATH")
    return ExitCode.INCOMPLETE if left else ExitCode.NO_MATCH


@app.command()
def overdue(
    unreported: Annotated[
        bool, typer.Option("--unreported", help="Also matches out of reach that nobody was told of yet.")
    ] = False,
    json: LinesOption = False,
) -> int:
    """List matches that users can still reach, and for how long that is known.

    The norm is to remove within 24 hours. Exit 3 when a match is known for longer.
    """
    from iii_client.records.review import matches_with_clocks

    with open_state() as (_, store), store.reading() as tx:
        matches = matches_with_clocks(tx)
    now = datetime.now(UTC)
    shown = [
        (case, clock)
        for case, clock in matches
        if clock.out_of_reach_at is None or (unreported and clock.told_at is None)
    ]
    late = sum(clock.is_overdue(now=now) for _, clock in shown)
    if json:
        for case, clock in shown:
            print_json_line(_clock_as_json(case, clock, now))
    else:
        _print_clocks(shown, now)
        out.print(f"{plural(len(matches), 'match')} kept, {late:,} reachable for more than 24 hours")
    return ExitCode.INCOMPLETE if late else ExitCode.NO_MATCH


@app.command()
def withdrawn(
    ask: Annotated[
        bool, typer.Option("--ask/--no-ask", help="Ask the service again about what it confirmed.")
    ] = True,
    restore: Annotated[
        bool, typer.Option("--restore", help="Decide them as ok, and give back what is held.")
    ] = False,
    json: LinesOption = False,
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> int:
    """Find past actions that relied on a hash which is listed no more. Exit 3 when not all could be asked."""
    with open_state() as (config, store):
        report = _find_withdrawn(config, store, ask=ask)
        given_back = 0
        if restore:
            given_back = _undo(config, store, report, operators(operator, second))
    if json:
        for one in report.found:
            print_json_line({**_case_as_json(one.case), "said_by": one.said_by.value, "restored": restore})
    else:
        table = Table("case", "decided", "was", "says", "held", box=None, pad_edge=False)
        for one in report.found[:MAX_TABLE_ROWS]:
            held = sum(held.is_live for held in one.case.held)
            table.add_row(
                one.case.name,
                f"{one.case.at:%Y-%m-%d}",
                one.case.action_now.value,
                f"the {one.said_by.value}",
                plural(held, "file") if held else "-",
            )
        if table.row_count:
            out.print(table)
        out.print(
            f"{report.looked_at:,} cases rest on confirmed hashes, "
            f"{len(report.found):,} of them on none that is still listed; "
            f"{plural(report.hashes_sent, 'hash')} sent, each not for the first time"
        )
        if restore:
            out.print(f"{plural(given_back, 'file')} put back; the application was told of each case")
        elif report.found:
            out.print("To undo them: iii-client review withdrawn --restore")
    if report.unanswered:
        err.print(f"[yellow]{plural(report.unanswered, 'case')} could not be asked about now[/]")
    return ExitCode.INCOMPLETE if report.unanswered else ExitCode.NO_MATCH


def _find_withdrawn(config: "Config", store: "Store", *, ask: bool) -> "WithdrawnReport":
    from iii_client.errors import FilterError
    from iii_client.records.withdrawn import find_withdrawn
    from iii_client.service import make_confirmer
    from iii_client.updates import FilterStore

    try:
        suppressed = frozenset(FilterStore(config.state_dir).installed().withdrawn)
    except FilterError as error:
        err.print(f"[yellow]no filter is asked:[/] {safe_text(str(error))}")
        suppressed = frozenset()
    # The plain confirmer: one that remembers answers would remember the old ones.
    confirmer = make_confirmer(config.service) if ask else None
    try:
        return find_withdrawn(store, suppressed=suppressed, confirmer=confirmer)
    finally:
        if confirmer is not None:
            confirmer.close()


def _undo(config: "Config", store: "Store", report: "WithdrawnReport", by: "Operators") -> int:
    from iii_client.records.review import decide as write

    undone = []
    for one in report.found:
        with store.transaction() as tx:
            undone.append(
                write(
                    tx,
                    one.case.encounter_id,
                    innocent=True,
                    by=by,
                    note=f"withdrawn, says the {one.said_by.value}",
                    now=datetime.now(UTC),
                    again=True,
                )
            )
    return _give_back(config, store, undone, by)


def _give_back(config: "Config", store: "Store", cases: "list[Case]", by: "Operators") -> int:
    """Now, and not when the drainer comes by. What cannot go back now is left to the drainer and said."""
    from iii_client.errors import RecordError
    from iii_client.records.held import HeldState
    from iii_client.records.quarantine import Quarantine

    quarantine, count = Quarantine.from_config(config, store), 0
    for case in cases:
        for held in case.held:
            if held.state is HeldState.HELD and held.origin and not held.legal_hold:
                try:
                    quarantine.restore(held.id, by=by)
                    count += 1
                except RecordError as error:
                    print_error(error)
    return count


def _print_waiting(found: "tuple[tuple[Case, WaitsFor], ...]", now: datetime) -> None:
    table = Table("case", "since", "why", "now", "listed by", "route", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for case, why in found[:MAX_TABLE_ROWS]:
        table.add_row(
            case.name,
            age((now - case.at).total_seconds()),
            _MEANS[why.value],
            case.action_now.value,
            safe_text(_listed_by(case)) or "-",
            safe_text(case.route) or "-",
        )
    if found:
        out.print(table)
    out.print(
        f"{plural(len(found), 'case')} for a person"
        + (f"; the first {MAX_TABLE_ROWS} are shown, --json lists all" if len(found) > MAX_TABLE_ROWS else "")
    )
    if found:
        err.print("More of one: iii-client case REF; then: iii-client review decide REF --as ok|confirmed")


def _print_clocks(shown: "list[tuple[Case, Clock]]", now: datetime) -> None:
    table = Table("case", "known for", "reachable", "reported", "listed by", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for case, clock in shown[:MAX_TABLE_ROWS]:
        known = age((now - clock.known_at).total_seconds())
        table.add_row(
            case.name,
            f"[bold red]{known}[/]" if clock.is_overdue(now=now) else known,
            "yes" if clock.out_of_reach_at is None else "no",
            "yes" if clock.told_at else "no",
            safe_text(_listed_by(case)) or "-",
        )
    if shown:
        out.print(table)
        err.print("Done by hand? iii-client report removed REF, iii-client report sent REF --to NAME")


def _listed_by(case: "Case") -> str:
    return joined(sorted({source for hit in case.confirmed for source in hit.sources}))


def _case_as_json(case: "Case") -> dict[str, Any]:
    from iii_client.cli.case_commands import case_as_json

    return case_as_json(case, hashes=False, names=False)


def _clock_as_json(case: "Case", clock: "Clock", now: datetime) -> dict[str, Any]:
    def text(moment: datetime | None) -> str:
        return moment.isoformat(timespec="seconds") if moment else ""

    return {
        "case_reference": case.case_reference,
        "encounter_id": case.encounter_id,
        "known_at": text(clock.known_at),
        "known_for_s": round((now - clock.known_at).total_seconds()),
        "out_of_reach_at": text(clock.out_of_reach_at),
        "reported_at": text(clock.told_at),
        "overdue": clock.is_overdue(now=now),
    }
