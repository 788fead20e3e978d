"""`iii-client publish …`: a publisher's daily work and its ceremonies.

`init` makes the keys; `add`, `withdraw` and `export` work on the lists; `release` publishes, `refresh`
re-signs for a timer, `rotate` replaces keys. Who may download is in `publish_access.py`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from iii_client.cli import publish_access
from iii_client.cli.exits import ExitCode
from iii_client.cli.publish_options import (
    DirOption,
    JsonOption,
    OfflineOption,
    PassphraseFileOption,
    PassphraseOption,
    open_desk,
    passphrase,
)
from iii_client.cli.publish_status import status
from iii_client.cli.render import err, out, plural, print_json_line, safe_text
from iii_client.errors import ConfigurationError
from iii_client.model import ListKind
from iii_client.publisher.choices import ListForm
from iii_client.publisher.deliveries import Delivery

app = typer.Typer(
    no_args_is_help=True, help="For publishers of a filter: keys, lists, releases, and who may fetch them."
)
app.command("status")(status)
app.add_typer(publish_access.app, name="access")


@app.command()
def init(
    directory: DirOption,
    offline: OfflineOption = None,
    ask: PassphraseOption = False,
    passphrase_file: PassphraseFileOption = None,
    practice: Annotated[
        bool, typer.Option("--practice", help="For harmless pictures: near segments of any size, flagged.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a publisher's folder and all its keys, offline and online ones apart."""
    from iii_client.publisher.desk import PublisherDesk

    secret = passphrase(ask, passphrase_file, new=True)
    desk = PublisherDesk.create(directory, offline=offline or (), passphrase=secret, practice=practice)
    root = desk.root_file.read_bytes()
    digest = hashlib.sha256(root).hexdigest()
    if json:
        print_json_line({"root": str(desk.root_file), "root_sha256": digest, "practice": practice})
        return
    out.print("made 3 root keys (2 must sign), 2 targets keys (1 must sign), a delta key and a snapshot key")
    out.print(f"root for hosters to pin: {safe_text(str(desk.root_file))}", soft_wrap=True)
    out.print(f"its SHA-256, to read out by telephone: {digest}", soft_wrap=True)
    if not offline:
        err.print(
            "[yellow]the offline keys lie beside the online ones[/], in private/offline: move them to media "
            "that are kept apart, and name those with --offline when they are needed"
        )
    if secret is None:
        err.print("[yellow]the offline keys have no passphrase[/]: whoever finds one has one of them")


@app.command()
def add(
    lists: Annotated[list[Path], typer.Argument(help="List files: CSV, or Project VIC's JSON.")],
    directory: DirOption,
    form: Annotated[ListForm | None, typer.Option(help="Default: .json is vics, all else csv.")] = None,
    kind: Annotated[
        ListKind | None, typer.Option(help="What lists that are new here are about.", show_default=False)
    ] = None,
    list_name: Annotated[str, typer.Option("--list", help="VICS: the list that the hashes go to.")] = "",
    source: Annotated[str, typer.Option(help="VICS: the body that they come from.")] = "",
    code: Annotated[
        list[str] | None, typer.Option(help="VICS: a category code that is to be listed; may be repeated.")
    ] = None,
    scheme: Annotated[str, typer.Option(help="VICS: scheme of the codes. Default: by country.")] = "",
    complete: Annotated[
        bool, typer.Option("--complete", help="Each list is here as a whole: what else it held, it drops.")
    ] = False,
    most_dropped: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a list that a complete delivery may drop.")
    ] = 0.1,
    bad_rows: Annotated[
        str, typer.Option(help="refuse: add nothing. skip: add the others.", metavar="refuse|skip")
    ] = "refuse",
    json: JsonOption = False,
) -> int:
    """Add delivered lists, each as a whole or not at all. The next release holds them.

    Exit 3 when bad rows were skipped.
    """
    if bad_rows not in {"refuse", "skip"}:
        raise ConfigurationError("--bad-rows must be refuse or skip")
    desk = open_desk(directory)
    skipped = 0
    for path in lists:
        delivery = Delivery(
            path=path,
            form=form,
            list_name=list_name,
            source=source,
            codes=frozenset(code or ()),
            scheme=scheme,
        )
        with _progress(path.name) as progress:
            added = desk.add(
                delivery,
                kind=kind,
                complete=complete,
                most_dropped=most_dropped,
                skip_bad_rows=bad_rows == "skip",
                progress=progress,
            )
        skipped += delivery.bad_rows.count
        if json:
            print_json_line(
                {
                    "read": added.read,
                    "new": added.new,
                    "dropped": added.dropped,
                    "lists": list(added.lists),
                    "bad_rows": delivery.bad_rows.count,
                    "passed_over": dict(sorted(delivery.passed_over.items())),
                }
            )
            continue
        changed = ", ".join(map(safe_text, added.lists)) or "nothing"
        out.print(f"{added.read:,} read, {added.new:,} new, {added.dropped:,} dropped; changed: {changed}")
        for reason, count in sorted(delivery.passed_over.items()):
            err.print(f"  passed over: {count:,} × {safe_text(reason)}")
        if delivery.bad_rows.count:
            err.print(f"[yellow]{plural(delivery.bad_rows.count, 'bad row')} skipped[/]")
            for row in delivery.bad_rows.first:
                err.print(f"  {safe_text(str(row))}")
    return ExitCode.INCOMPLETE if skipped else ExitCode.NO_MATCH


@app.command("set-kind")
def set_kind(
    list_name: Annotated[str, typer.Argument(metavar="LIST")], kind: ListKind, directory: DirOption
) -> None:
    """Say what a list is about. Clients see it with the next base."""
    open_desk(directory).set_kind(list_name, kind)
    out.print(f"{safe_text(list_name)}: {kind.value}")


@app.command()
def release(
    directory: DirOption,
    base: Annotated[
        bool | None,
        typer.Option("--base/--no-base", help="A base in any case, or in none. Default: when one is due."),
    ] = None,
    most_removed: Annotated[
        float, typer.Option(min=0, max=1, help="Share of what is published that may be listed no more.")
    ] = 0.1,
    offline: OfflineOption = None,
    ask: PassphraseOption = False,
    passphrase_file: PassphraseFileOption = None,
    json: JsonOption = False,
) -> int:
    """Publish what is listed: deltas where they do, a base (and near segments) when one is due.

    A base needs a targets key (--offline). Exit 3 when one is due and its key is not here.
    """
    desk = open_desk(directory, offline=offline, secret=passphrase(ask, passphrase_file))
    report = desk.publish(base=base, most_removed=most_removed)
    kind = "deltas" if report.deltas else "base" if report.changed else "none"
    if json:
        print_json_line(
            {
                "release": str(report.release),
                "changed": report.changed,
                "kind": kind,
                "deltas": report.deltas,
                "added": report.added,
                "left": report.left,
                "removed": report.removed,
                "near_waiting": report.waiting,
                "base_due": list(report.base_due),
                "visible": report.visible,
            }
        )
    else:
        if kind == "deltas":
            out.print(
                f"release {report.release}: {plural(report.added, 'hash')} added by "
                f"{plural(report.deltas, 'delta')}"
            )
        elif kind == "base":
            out.print(f"release {report.release}: a base")
        else:
            out.print(f"release {report.release}: nothing new to publish")
        if report.removed:
            out.print(
                f"{plural(report.removed, 'hash')} listed no more: still found until the next base "
                "(--base), the service must answer 'withdrawn'"
            )
        if report.waiting:
            out.print(f"{plural(report.waiting, 'PDQ hash')} gathered for the next near segment")
        for reason in report.base_due:
            err.print(f"[yellow]a base is due[/]: {reason}")
        if report.left:
            err.print(f"[yellow]{plural(report.left, 'hash')} in no release yet[/]: fetch a targets key")
        if not report.visible:
            err.print("[yellow]clients do not see it yet[/]: run `publish refresh` where the online keys are")
    waits = report.left or (report.base_due and base is None)
    return ExitCode.INCOMPLETE if waits else ExitCode.NO_MATCH


@app.command()
def refresh(directory: DirOption, json: JsonOption = False) -> None:
    """Sign anew whatever is due, with the online keys: for a timer, every hour. Clients judge age by it."""
    signed = open_desk(directory).refresh()
    if json:
        print_json_line({"signed": signed})
    elif signed:
        out.print("signed anew")


@app.command()
def rotate(
    directory: DirOption,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="A key to replace: root-2, or the first 8 digits of a lost key's id."),
    ] = None,
    offline: OfflineOption = None,
    ask: PassphraseOption = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Replace keys, or sign root and targets for a new term when none is named. Takes two root keys."""
    desk = open_desk(directory, offline=offline, secret=passphrase(ask, passphrase_file))
    desk.rotate(key or ())
    current = desk.status()
    version, expires = current.roles["root"]
    out.print(f"root version {version}, valid until {expires.date()}")
    if not current.visible:
        err.print(
            "[yellow]not everything is seen by clients[/]: run `publish refresh` where the online keys are"
        )


@app.command()
def withdraw(
    hashes: Annotated[
        Path, typer.Argument(help="CSV of hashes as lists are; only algorithm and value count.")
    ],
    directory: DirOption,
    only_these: Annotated[
        bool, typer.Option("--only-these", help="Leave other hashes of the same pictures listed.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Take hashes off every list, for good: whatever is delivered later, they stay off."""
    desk = open_desk(directory)
    delivery = Delivery(path=hashes, form=ListForm.CSV)
    values = list(dict.fromkeys(entry.hash for entry in delivery.entries()))
    delivery.bad_rows.refuse_if_any()
    count = desk.withdraw(values, linked=not only_these)
    if json:
        print_json_line({"asked": len(values), "withdrawn": count})
    else:
        out.print(f"{plural(count, 'hash')} withdrawn; the filter finds them until the next base")
        out.print("publish one now with `publish release --base`, and tell the confirming service")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A new CSV file.", show_default=False)], directory: DirOption
) -> None:
    """Write everything that is listed, deduplicated and linked, for the confirming service."""
    desk = open_desk(directory)
    try:
        # 0600 from the first byte: the file is the list.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as content:
            desk.export(content)
    except OSError as error:
        raise ConfigurationError(f"the file cannot be written: {error.strerror}") from None


@app.command()
def mapping(
    table: Annotated[
        str, typer.Argument(help="A JSON file, or the name of a table that ships: uk-levels-to-categories.")
    ],
    directory: DirOption,
) -> None:
    """Add a table between two category schemes. Releases carry it; originals are never changed."""
    from iii_client.publisher.mappings import SHIPPED, read_mapping, shipped_mapping

    found = shipped_mapping(table) if table in SHIPPED else read_mapping(Path(table))
    new = open_desk(directory).mappings.put(found)
    state = "added; clients see it with the next base" if new else "was here already"
    out.print(f"{safe_text(found.name)} version {found.version}: {state}")


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int], None]]:
    """A counter on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn(safe_text(name)), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda count: progress.update(task, completed=count)
