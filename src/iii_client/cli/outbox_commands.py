"""`iii-client outbox list|drain|retry`: probable hits that wait for the service or for a person.

No mode is asked for: each item keeps that in which it was decided.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from iii_client.cli.exits import ExitCode
from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import age, err, out, plural, print_error, print_json_line, safe_text
from iii_client.cli.settings import config_without_mode

app = typer.Typer(
    no_args_is_help=True, help="Probable hits that wait for the service, or for a person: list, drain, retry."
)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]

#: Rows that a person still reads; --json lists all.
MAX_TABLE_ROWS = 500
#: Rows of one look into the database.
PAGE_ROWS = 1000
#: How often `--watch` looks for new rows, and how long it waits for a database that refuses.
WATCH_S, BROKEN_S = 5.0, 30.0


@app.command("list")
def list_rows(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a row on standard output.")] = False,
    settled: Annotated[bool, typer.Option("--settled", help="Those that were answered, instead.")] = False,
) -> None:
    """List what waits, the oldest first. No hash is shown."""
    from iii_client.parts import Parts
    from iii_client.records.outbox import OutboxState
    from iii_client.records.outbox_list import OPEN_STATES, count_outbox, list_outbox

    store = Parts.from_config(config_without_mode(os.environ)[0]).store
    states = frozenset({OutboxState.SETTLED}) if settled else OPEN_STATES
    now = datetime.now(UTC)
    table = Table("case", "waits for", "since", "asked", "last answer", "reference", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    after, shown = None, 0
    while True:
        with store.reading() as tx:
            page = list_outbox(tx, now=now, states=states, after=after, limit=PAGE_ROWS)
        for row in page:
            shown += 1
            if json:
                print_json_line(_row_as_json(row))
            elif shown <= MAX_TABLE_ROWS:
                table.add_row(
                    row.case_reference or "-",
                    _WAITS_FOR[row.state],
                    age((now - row.created_at).total_seconds()),
                    "just now" if row.leased else f"{row.attempts} times",
                    row.last_reason or "-",
                    safe_text(row.reference) or "-",
                )
        if len(page) < PAGE_ROWS or (not json and shown >= MAX_TABLE_ROWS):
            break
        after = (page[-1].created_at, page[-1].id)
    if json:
        return
    if table.row_count:
        out.print(table)
    with store.reading() as tx:
        counts = count_outbox(tx, now=now)
    out.print(
        f"{plural(counts.pending, 'item')} {'waits' if counts.pending == 1 else 'wait'} for the service, "
        f"{counts.for_review:,} for a person"
        + (f"; the first {MAX_TABLE_ROWS} are shown, --json lists all" if shown >= MAX_TABLE_ROWS else "")
    )


@app.command()
def drain(
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output; with --watch one a round.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until stopped: for a service manager.")
    ] = False,
) -> int:
    """Ask the service about what waits, and see to the answers.

    Stops when nothing is due, or when the service does not answer for a while. Exit 3 when items are left.
    """
    from iii_client.drain import Drainer
    from iii_client.parts import Parts

    parts = Parts.from_config(config_without_mode(os.environ)[0])
    drainer = Drainer.from_parts(parts)
    if watch:
        _watch(drainer, json=json)
    with _progress(_counts(parts.store).due) as advance:
        report = drainer.run_until_empty(progress=advance)
    left = _counts(parts.store)
    if json:
        print_json_line({**_report_as_json(report), "left": left.pending, "left_for_review": left.for_review})
    else:
        out.print(
            f"{plural(report.settled, 'item')} answered: {report.matched:,} matched, "
            f"{report.not_listed:,} not listed, {report.settled_otherwise:,} settled otherwise; "
            f"{plural(report.hashes_sent, 'hash')} sent"
        )
        if report.notices.delivered or report.notices.postponed:
            out.print(
                f"{plural(report.notices.delivered, 'notice')} delivered, "
                f"{report.notices.postponed:,} to be tried again"
            )
        _print_left(report.problem, left)
    return ExitCode.INCOMPLETE if left.pending or left.for_review else ExitCode.NO_MATCH


@app.command()
def retry(json: JsonOption = False, operator: OperatorOption = "", second: SecondOption = "") -> None:
    """Make everything due at once, also what was handed to a person: the service is back.

    Asks nobody yet; 'iii-client outbox drain' does. What is overdue and still gets no answer goes back to a
    person.
    """
    from iii_client.parts import Parts
    from iii_client.records.outbox import retry as make_due

    store = Parts.from_config(config_without_mode(os.environ)[0]).store
    with store.transaction() as tx:
        count = make_due(tx, by=operators(operator, second), now=datetime.now(UTC))
    if json:
        print_json_line({"due": count})
    else:
        out.print(f"{plural(count, 'item')} due again; now run: iii-client outbox drain")


def _watch(drainer: Any, *, json: bool) -> None:
    """Until somebody interrupts; what is under way then is handed back."""
    from iii_client.errors import RecordError

    stop = threading.Event()

    def tell(report: Any) -> None:
        if not report.asked and not report.notices.delivered:
            return
        if json:
            print_json_line(_report_as_json(report))
        else:
            err.print(
                f"{report.settled:,} answered ({report.matched:,} matched), {report.postponed:,} postponed"
                + (f": {report.problem}" if report.problem else "")
            )

    while True:
        try:
            drainer.run_until_empty(stop=stop, progress=tell)
        except RecordError as error:
            print_error(error)
            stop.wait(BROKEN_S)
        stop.wait(WATCH_S)


_WAITS_FOR = {"pending": "service", "for_review": "[yellow]person[/]", "settled": "-"}


def _counts(store: Any) -> Any:
    from iii_client.records.outbox_list import count_outbox

    with store.reading() as tx:
        return count_outbox(tx, now=datetime.now(UTC))


def _print_left(problem: Any, left: Any) -> None:
    if problem is not None:
        out.print(f"[bold yellow]the service gave no answers:[/] {problem}; 'iii-client doctor' says more")
    if left.pending:
        since = age((datetime.now(UTC) - left.oldest_pending_at).total_seconds())
        out.print(
            f"{plural(left.pending, 'item')} left, the oldest for {since}: run this again later "
            "('iii-client outbox retry' first makes all of them due at once)"
        )
    if left.for_review:
        out.print(
            f"[bold yellow]{plural(left.for_review, 'item')} for a person[/]: no answer came in time "
            "(iii-client outbox list); 'iii-client outbox retry' asks once more"
        )


def _row_as_json(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "created_at": row.created_at.isoformat(timespec="milliseconds"),
        "next_attempt_at": row.next_attempt_at.isoformat(timespec="milliseconds"),
        "attempts": row.attempts,
        "leased": row.leased,
        "last_reason": row.last_reason,
        "action": row.action,
        "encounter_id": row.encounter_id,
        "case_reference": row.case_reference,
        "route": row.route,
        "reference": row.reference,
    }


def _report_as_json(report: Any) -> dict[str, Any]:
    return {
        "asked": report.asked,
        "matched": report.matched,
        "not_listed": report.not_listed,
        "settled_otherwise": report.settled_otherwise,
        "postponed": report.postponed,
        "handed_over": report.for_review,
        "hashes_sent": report.hashes_sent,
        "notices_delivered": report.notices.delivered,
        "notices_postponed": report.notices.postponed,
        "problem": report.problem.value if report.problem else "",
    }


class _Advance(Protocol):
    def __call__(self, report: Any, /) -> None: ...


@contextmanager
def _progress(due: int) -> Iterator[_Advance]:
    """A bar on standard error, where somebody sees it and there is something to wait for."""
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not (sys.stderr.isatty() and due)) as bar:
        task = bar.add_task("asking", total=due)
        yield lambda report: bar.advance(task, report.settled + report.for_review)
