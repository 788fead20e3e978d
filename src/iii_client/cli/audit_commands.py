"""`iii-client audit verify|head|export`: proof of what was done, as far as a log can give it."""

import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from iii_client.cli.exits import ExitCode
from iii_client.cli.render import err, out, plural, print_json_line
from iii_client.cli.state import moment, open_state
from iii_client.errors import ConfigurationError

app = typer.Typer(
    no_args_is_help=True,
    help="The audit log: append-only and hash-chained. Evidence only against a head that was kept elsewhere.",
)


class Format(StrEnum):
    """Forms of an export."""

    JSONL = "jsonl"
    CSV = "csv"


@app.command()
def verify(
    head: Annotated[
        str,
        typer.Option(
            "--head", metavar="PLACE", help="Heads that were kept elsewhere: a folder, or one file."
        ),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Check every entry of the log. Exit 4 when one is not what was written."""
    from iii_client.records.audit_check import read_heads, verify_audit

    exported = read_heads(_absolute(head)) if head else ()
    with open_state() as (_, store):
        report = verify_audit(store, exported=exported)
    if json:
        print_json_line(
            {
                "entries": report.entries,
                "head_seq": report.head.seq,
                "head_digest": report.head.digest,
                "against": [one.seq for one in exported],
                "broken_at": report.broken_at,
                "why": report.why,
            }
        )
    elif report.broken_at is not None:
        out.print(f"[bold red]entry {report.broken_at}:[/] {report.why}")
        out.print(f"  the {report.entries:,} before it are whole. Keep a copy of the database as it is.")
    else:
        out.print(f"{report.entries:,} entries, every one as it was written")
        if not exported:
            err.print(
                "This shows changes by whoever could not write the whole chain anew, and no cut at the end. "
                "Against that, give heads that were kept elsewhere: --head PLACE."
            )
        else:
            last = max(one.seq for one in exported)
            out.print(f"{plural(len(exported), 'exported head')} in place, the last at entry {last:,}")
    return ExitCode.NO_MATCH if report.broken_at is None else ExitCode.TRUST_FAILURE


@app.command()
def head(
    to: Annotated[
        str, typer.Option("--to", metavar="PLACE", help="Write it as a new file of a folder or bucket.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="As the file that --to writes.")] = False,
) -> None:
    """Print where the log ends, or keep it elsewhere. Do so daily, where this machine cannot delete."""
    from iii_client.records.audit_check import audit_head, export_head, head_to_json

    with open_state() as (_, store):
        found = audit_head(store)
    now = datetime.now(UTC)
    if to:
        name = export_head(found, _absolute(to), now=now)
        err.print(f"written: {name}")
    if json:
        sys.stdout.write(head_to_json(found, now=now).decode())
    elif not to:
        out.print(f"entry {found.seq:,} {found.digest or '(the log is empty)'}", soft_wrap=True)


@app.command()
def export(
    form: Annotated[Format, typer.Option("--format", help="One entry a line either way.")] = Format.JSONL,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Leave out older entries: 2026-11-01, 30d.")
    ] = "",
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Add the hashes of each case. They are sensitive: encrypt them.")
    ] = False,
) -> None:
    """Write the log to standard output. No hashes of pictures unless asked for."""
    from iii_client.records.audit_export import as_csv, export_entries

    start = moment(since, option="--since", now=datetime.now(UTC)) if since else None
    with open_state() as (_, store):
        entries = export_entries(store, since=start, with_hashes=hashes)
        if form is Format.CSV:
            for line in as_csv(entries):
                sys.stdout.write(line)
        else:
            for entry in entries:
                print_json_line(entry)


def _absolute(place: str) -> str:
    if not place.strip():
        raise ConfigurationError("an empty place was given", hint="Is a variable of your script unset?")
    return place if "://" in place else str(Path(place).absolute())
