"""`iii-client report hotline|removed|sent`: telling others, and writing down that they were told."""

import json as jsonlib
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iii_client import __version__
from iii_client.cli.case_commands import print_sent, send_feedback
from iii_client.cli.exits import ExitCode
from iii_client.cli.hotline_page import as_html, as_text
from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import err, out
from iii_client.cli.state import moment, open_state
from iii_client.errors import ConfigurationError
from iii_client.model import FollowUpCode

if TYPE_CHECKING:
    from iii_client.config import Config
    from iii_client.records.store import Store

app = typer.Typer(no_args_is_help=True, help="Report a case to a hotline, and write down what was done.")

RefArgument = Annotated[str, typer.Argument(metavar="REF", help="A case reference or an encounter id.")]
AtOption = Annotated[
    str, typer.Option("--at", metavar="TIME", help="When: 2026-11-24T12:30 (UTC), 2h. Default: now.")
]
NoteOption = Annotated[str, typer.Option("--note", help="For your records. It is never sent.")]


class Format(StrEnum):
    """Forms of a report."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


@app.command()
def hotline(
    ref: RefArgument,
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.TEXT,
    to: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write there (mode 0600); never overwrites.")
    ] = None,
    hashes: Annotated[
        bool,
        typer.Option("--hashes", help="Add the hashes, which a hotline needs and others should not get."),
    ] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Add where your application finds the item.")
    ] = False,
) -> None:
    """Gather the circumstances of a case for a hotline or the police. It holds no picture.

    Nothing is sent. Once you have sent it: iii-client report sent REF --to NAME.
    """
    from iii_client.records.cases import find_encounter
    from iii_client.records.hotline import hotline_report
    from iii_client.records.places import write_new

    with open_state() as (config, store), store.reading() as tx:
        report = hotline_report(
            tx,
            find_encounter(tx, ref),
            contact=config.contact,
            version=__version__,
            now=datetime.now(UTC),
            with_hashes=hashes,
            with_reference=reference,
        )
    match form:
        case Format.JSON:
            text = jsonlib.dumps(report, indent=2) + "\n"
        case Format.HTML:
            text = as_html(report)
        case Format.TEXT:
            text = as_text(report)
    if to is not None:
        write_new(str(to.absolute()), [text.encode("utf-8")])
        err.print("written")
    else:
        sys.stdout.write(text)


@app.command()
def removed(
    ref: RefArgument,
    at: AtOption = "",
    note: NoteOption = "",
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> int:
    """Write down that your application removed the item; the service learns that, and when."""
    from iii_client.records.follow_ups import FollowUpKind

    return _follow_up(ref, FollowUpKind.REMOVED.value, at, note, operator, second)


@app.command()
def sent(
    ref: RefArgument,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="Which hotline or authority.")],
    at: AtOption = "",
    note: NoteOption = "",
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> int:
    """Write down that a hotline or the police were told."""
    from iii_client.records.follow_ups import FollowUpKind

    told = f"to {to}" + (f": {note}" if note else "")
    return _follow_up(ref, FollowUpKind.REPORTED.value, at, told, operator, second)


def _follow_up(ref: str, kind: str, at: str, note: str, operator: str, second: str) -> int:
    from iii_client.records.cases import find_encounter
    from iii_client.records.feedback import tell_follow_up
    from iii_client.records.follow_ups import FollowUpKind
    from iii_client.records.review import note_follow_up

    by, now = operators(operator, second), datetime.now(UTC)
    done_at = moment(at, option="--at", now=now) if at else now
    with open_state() as (config, store):
        told = False
        with store.transaction() as tx:
            encounter_id = find_encounter(tx, ref)
            try:
                note_follow_up(
                    tx, encounter_id, FollowUpKind(kind), by=by, done_at=done_at, note=note, now=now
                )
            except ValueError as error:
                raise ConfigurationError(str(error)) from None
            if config.service.url and config.service.protocol == "v2":
                code = FollowUpCode(kind)
                told = bool(tell_follow_up(tx, encounter_id, code=code, done_at=done_at, now=now))
        out.print("written down")
        return _send(config, store) if told else ExitCode.NO_MATCH


def _send(config: "Config", store: "Store") -> int:
    report = send_feedback(config, store)
    print_sent(report)
    return ExitCode.INCOMPLETE if report.waiting else ExitCode.NO_MATCH
