"""`iii-client quarantine list|hold|restore|purge|legal-hold|verify`: held files. None is ever shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from iii_client.cli.exits import ExitCode
from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import age, err, out, plural, print_json_line, safe_text, size
from iii_client.cli.state import open_state
from iii_client.errors import ConfigurationError, RecordError
from iii_client.model import Outcome
from iii_client.records.store import Store

if TYPE_CHECKING:  # they load the cipher, which --help does without
    from iii_client.records.held import Held
    from iii_client.records.quarantine import Quarantine

app = typer.Typer(
    no_args_is_help=True,
    help="Files that are held: sealed, out of reach, restorable. Nothing here shows a picture.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="A case reference, an encounter id or the id of a held file.")
]
#: Rows that a person still reads.
MAX_TABLE_ROWS = 500

NamesOption = Annotated[bool, typer.Option("--names", help="Also show where files came from.")]


@app.command("list")
def list_files(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a file on standard output.")] = False,
    names: NamesOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what was restored, purged or never came to be held.")
    ] = False,
) -> None:
    """List held files, the oldest first. No name and no hash is shown unless asked for."""
    with _open() as (_, quarantine):
        held = quarantine.list(live_only=not everything)
    if json:
        for one in held:
            print_json_line(held_as_json(one, names=names))
        return
    now = datetime.now(UTC)
    table = Table("case", "held for", "size", "state", "keep until", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    if names:
        table.add_column("from", overflow="fold")
    for one in held[:MAX_TABLE_ROWS]:
        until = f"legal hold: {one.legal_hold}" if one.legal_hold else f"{one.keep_until:%Y-%m-%d}"
        row = [
            one.case_reference or one.id,
            age((now - one.held_at).total_seconds()),
            size(one.size_bytes),
            one.state.value,
            safe_text(until),
        ]
        table.add_row(*row, *([safe_text(one.origin) or "-"] if names else []))
    if held:
        out.print(table)
    due = sum(one.keep_until <= now and not one.legal_hold and one.state == "held" for one in held)
    out.print(
        plural(len(held), "file")
        + (f", {due} may be purged: iii-client quarantine purge --due" if due else "")
        + (f"; the first {MAX_TABLE_ROWS} are shown, --json lists all" if len(held) > MAX_TABLE_ROWS else "")
    )


@app.command()
def hold(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A path, or an fsspec address.")],
    case: Annotated[
        str, typer.Option("--case", "--encounter", metavar="REF", help="The recorded decision about it.")
    ],
    copy: Annotated[
        bool, typer.Option("--copy", help="Leave the original where it is, reachable for users.")
    ] = False,
    json: JsonOption = False,
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> None:
    """Move a file into quarantine: seal it, read it back, then delete the original."""
    from iii_client.content import Content
    from iii_client.records.cases import find_encounter, load_case
    from iii_client.records.places import local_path

    by = operators(operator, second)
    path = local_path(file)
    if path is not None and path.is_symlink():
        raise ConfigurationError(
            "this is a link; only the link would be deleted", hint="Name the file that it leads to."
        )
    # With an absolute name it can go back from wherever the restore is ordered.
    origin = str(path.absolute()) if path is not None else file
    content = Content.from_path(path) if path is not None else Content.from_url(file)
    with _open() as (store, quarantine), content:
        with store.reading() as tx:
            encounter_id = find_encounter(tx, case)
        held_id = quarantine.hold(content, encounter_id, origin, move=not copy, by=by)
        (held,) = quarantine.find(held_id)
        with store.reading() as tx:
            seen = load_case(tx, encounter_id).sha256
    if seen and seen != held.sha256:
        err.print("[yellow]note:[/] these are not the bytes that were seen in this case")
    if json:
        print_json_line(held_as_json(held))
    else:
        kept = "the original was left where it is" if copy else "the original is deleted"
        out.print(f"held for case {held.case_reference or held.encounter_id}; {kept}")


@app.command()
def restore(
    ref: RefArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="PATH", help="Where to, instead of where it came from.")
    ] = "",
    json: JsonOption = False,
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> None:
    """Put held files of a case back. Never overwrites; not while under legal hold."""
    from iii_client.records.cases import load_case
    from iii_client.records.places import local_path

    by = operators(operator, second)
    path = local_path(to) if to else None
    with _open() as (store, quarantine):
        found = _live(quarantine, ref)
        if to and len(found) > 1:
            raise ConfigurationError(
                f"{plural(len(found), 'file')} are held for this case",
                hint="Name one by its id: iii-client quarantine list --json.",
            )
        for held in found:
            quarantine.restore(held.id, by=by, to=str(path.absolute()) if path is not None else to)
            if json:
                print_json_line(held_as_json(quarantine.find(held.id)[0]))
        with store.reading() as tx:
            case = load_case(tx, found[0].encounter_id)
    if not json:
        out.print(f"{plural(len(found), 'file')} put back")
    if case.outcome_now is Outcome.MATCHED:
        err.print(
            "The case still counts as a match that users can reach. If it is innocent: "
            f"iii-client review decide {case.name} --as ok"
        )


@app.command()
def purge(
    ref: Annotated[str, typer.Argument(metavar="[REF]", help="A case or a held file.")] = "",
    due: Annotated[bool, typer.Option("--due", help="All that was held longer than its time.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: JsonOption = False,
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> None:
    """Delete held files for good. What is under legal hold stays."""
    by = operators(operator, second)
    if bool(ref) == due:
        raise ConfigurationError("give a case or --due, not both")
    with _open() as (_, quarantine):
        if due:
            count = quarantine.purge_due(by=by)
        else:
            found = _live(quarantine, ref)
            if not yes:
                typer.confirm(
                    f"Delete {plural(len(found), 'file')} for good? They may be evidence.",
                    abort=True,
                    err=True,
                )
            for held in found:
                quarantine.purge(held.id, by=by)
            count = len(found)
    if json:
        print_json_line({"purged": count})
    else:
        out.print(f"{plural(count, 'file')} deleted for good")


@app.command("legal-hold")
def legal_hold(
    ref: RefArgument,
    on: Annotated[bool, typer.Option("--on/--off", help="Set or lift it.")],
    reason: Annotated[str, typer.Option("--reason", help="With --on: whose order, which file number.")] = "",
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> None:
    """Forbid restore and purge of a case's files, or allow them again."""
    by = operators(operator, second)
    if on and not reason.strip():
        raise ConfigurationError(
            "a legal hold needs a --reason", hint="For example: --reason 'police 12/26'."
        )
    with _open() as (_, quarantine):
        found = _live(quarantine, ref)
        for held in found:
            quarantine.set_legal_hold(held.id, reason=reason.strip() if on else "", by=by)
    out.print(f"legal hold {'set on' if on else 'lifted from'} {plural(len(found), 'file')}")


@app.command()
def verify(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a problem.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="First bring acts to their end that a crash interrupted.")
    ] = False,
) -> int:
    """Decrypt every held file and compare it with its record. Exit 3 when something is wrong."""
    with _open() as (_, quarantine):
        finished = quarantine.finish() if finish else 0
        problems = quarantine.verify()
        count = len(quarantine.list())
    for problem in problems:
        if json:
            print_json_line({"held": problem.held_id, "problem": problem.what, "detail": problem.detail})
        else:
            out.print(f"[bold red]{problem.what}[/] {problem.held_id or '-'}: {safe_text(problem.detail)}")
    if not json:
        if finished:
            out.print(f"{plural(finished, 'interrupted act')} brought to an end")
        whole = (
            f"{plural(count, 'held file')}, all whole" if not problems else plural(len(problems), "problem")
        )
        out.print(whole)
        if any(problem.what == "interrupted" for problem in problems):
            err.print("What is older than an hour: iii-client quarantine verify --finish")
    return ExitCode.INCOMPLETE if problems else ExitCode.NO_MATCH


def held_as_json(held: "Held", *, names: bool = False) -> dict[str, Any]:
    """One held file. No hash; where it came from only when asked for."""
    return {
        "held": held.id,
        "case_reference": held.case_reference,
        "encounter_id": held.encounter_id,
        "state": held.state.value,
        "size_bytes": held.size_bytes,
        "held_at": held.held_at.isoformat(timespec="seconds"),
        "keep_until": held.keep_until.isoformat(timespec="seconds"),
        "legal_hold": held.legal_hold,
        **({"origin": held.origin} if names else {}),
    }


@contextmanager
def _open() -> Iterator[tuple[Store, "Quarantine"]]:
    from iii_client.records.quarantine import Quarantine

    with open_state() as (config, store):
        yield store, Quarantine.from_config(config, store)


def _live(quarantine: "Quarantine", ref: str) -> "list[Held]":
    found = [held for held in quarantine.find(ref) if held.is_live]
    if not found:
        raise RecordError(
            "no held file belongs to this reference",
            hint="'iii-client quarantine list' shows what is held; --all also what was.",
        )
    return found
