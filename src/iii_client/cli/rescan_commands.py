"""`iii-client rescan start|resume|status|recheck|stop|report`: what is stored already, resumable."""

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from iii_client.cli.exits import ExitCode
from iii_client.cli.render import age, err, out, plural, print_json_line, safe_text, size
from iii_client.cli.state import open_state
from iii_client.errors import ConfigurationError

if TYPE_CHECKING:
    from iii_client.rescan.jobs import JobStatus
    from iii_client.rescan.ledger import Ledger
    from iii_client.rescan.run import Rescan

app = typer.Typer(
    no_args_is_help=True,
    help="Scan what is stored already: resumable, and checked again without reading a file.",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The job's name.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
JobsOption = Annotated[int, typer.Option(min=0, help="Chunks hashed at a time; 0 takes every core.")]
EngineOption = Annotated[
    str, typer.Option(metavar="ENGINE", help="local, dask://host:port, or module:factory.")
]
RateOption = Annotated[float, typer.Option(min=0, help="Most items a second; 0 for no limit.")]
MegabytesOption = Annotated[float, typer.Option(min=0, help="Most megabytes a second; 0 for no limit.")]
NiceOption = Annotated[int, typer.Option(min=0, max=19, help="Give way to other work: 0 not, 19 to all.")]

#: Items of a dry run that are told of while it lists.
_TELL_EVERY = 10_000


class Format(StrEnum):
    """Forms of a report."""

    HTML = "html"
    JSONL = "jsonl"
    CSV = "csv"


@app.command()
def start(
    urls: Annotated[
        list[str],
        typer.Argument(
            metavar="URL…",
            help="Folders, files, s3://…, sftp://…, list:FILE of such names, s3-inventory:FILE.",
        ),
    ],
    job: Annotated[str, typer.Option("--job", metavar="NAME", help="By this name it is resumed.")] = "",
    include: Annotated[list[str] | None, typer.Option(help="Only items whose name fits the glob.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No items whose name fits the glob.")] = None,
    engine: EngineOption = "local",
    jobs: JobsOption = 0,
    objects_per_s: RateOption = 0,
    megabytes_per_s: MegabytesOption = 0,
    nice: NiceOption = 10,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list, and say what a rescan would read.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Begin a job and work on it. Nothing is moved or deleted.

    Stopped by Ctrl-C, SIGTERM or a power cut it goes on with: iii-client rescan resume NAME
    """
    if dry_run:
        return _dry_run(urls, include or [], exclude or [], json=json)
    from iii_client.config import Config
    from iii_client.rescan import Rescan

    if not job:
        raise ConfigurationError("a job needs a name", hint="For example: --job uploads-2026")
    rescan = Rescan.start(
        Config.from_env(),
        job=job,
        roots=urls,
        include=include or [],
        exclude=exclude or [],
        engine=engine,
        jobs=jobs,
        objects_per_s=objects_per_s,
        bytes_per_s=megabytes_per_s * 1e6,
    )
    return _drive(rescan, nice=nice, json=json)


@app.command()
def resume(
    name: NameArgument,
    engine: EngineOption = "local",
    jobs: JobsOption = 0,
    objects_per_s: RateOption = 0,
    megabytes_per_s: MegabytesOption = 0,
    nice: NiceOption = 10,
    json: JsonOption = False,
) -> int:
    """Go on with a job: where it was stopped, on this or another engine."""
    from iii_client.config import Config
    from iii_client.rescan import Rescan

    rescan = Rescan.resume(
        Config.from_env(),
        job=name,
        engine=engine,
        jobs=jobs,
        objects_per_s=objects_per_s,
        bytes_per_s=megabytes_per_s * 1e6,
    )
    return _drive(rescan, nice=nice, json=json)


@app.command()
def status(name: Annotated[str, typer.Argument(metavar="[NAME]")] = "", json: JsonOption = False) -> int:
    """Say how far a job is and what it found; without a name, every job. Reads the ledger alone."""
    from iii_client.rescan.jobs import job_names
    from iii_client.rescan.ledger import Ledger
    from iii_client.rescan.report import status_as_json

    with open_state() as (config, store):
        names = [name] if name else job_names(store)
        statuses = [Ledger.open(store, config.state_dir, each).status() for each in names]
    for found in statuses:
        if json:
            print_json_line(status_as_json(found))
        else:
            _print_status(found)
    if not statuses and not json:
        out.print("no jobs")
    return _exit_code(statuses[0]) if name else ExitCode.NO_MATCH


@app.command()
def recheck(name: NameArgument, json: JsonOption = False) -> int:
    """Check everything that a job hashed against the filter of now. Reads no storage.

    Run it after: iii-client filter update
    """
    from iii_client.config import Config
    from iii_client.rescan import Found, Recheck
    from iii_client.rescan.recheck import Rechecked

    check = Recheck.of(Config.from_env(), job=name)
    items = hits = other = 0
    begun = time.monotonic()
    with _stopping(check.stop) as was_stopped:
        for event in check.run():
            if isinstance(event, Rechecked):
                items, hits, other = items + event.items, hits + event.hits, other + event.other_recipe
            elif isinstance(event, Found) and not json:
                _print_found(event)
    seconds = time.monotonic() - begun
    found = check.ledger.status()
    if json:
        from iii_client.rescan.report import status_as_json

        rate = round(items / seconds) if seconds else 0
        rechecked = {"items": items, "hits": hits, "other_recipe": other, "read_from_storage": 0}
        print_json_line({**status_as_json(found), "rechecked": {**rechecked, "per_s": rate}})
    else:
        out.print(
            f"{plural(items, 'fingerprint')} checked in {seconds:.1f} s, {plural(hits, 'filter hit')}, "
            "no file read"
        )
        if other:
            out.print(f"{other:,} were hashed by another recipe: start a new job to hash them again")
        _print_status(found)
    return ExitCode.INTERRUPTED if was_stopped() else _exit_code(found)


@app.command()
def stop(name: NameArgument) -> int:
    """Have a job that runs elsewhere finish its chunks and stop. It can be resumed."""
    from iii_client.rescan.ledger import Ledger

    with open_state() as (config, store):
        asked = Ledger.open(store, config.state_dir, name).request_stop()
    out.print("it stops once the chunks under way are done" if asked else "it does not run")
    return ExitCode.NO_MATCH


@app.command()
def report(
    name: NameArgument,
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.HTML,
    to: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write there (mode 0600); replaces it.")
    ] = None,
) -> int:
    """Write what a job found, for people (html) or machines (jsonl, csv). Reads the ledger alone."""
    from iii_client.rescan.ledger import Ledger
    from iii_client.rescan.report import write_csv, write_html, write_jsonl

    with open_state() as (config, store):
        ledger = Ledger.open(store, config.state_dir, name)
        with _output(to) as file:
            match form:
                case Format.HTML:
                    write_html(ledger, file, now=datetime.now(UTC))
                case Format.JSONL:
                    write_jsonl(ledger, file)
                case Format.CSV:
                    write_csv(ledger, file)
        code = _exit_code(ledger.status())
    if to is not None:
        err.print("written")
    return code


@app.command()
def forget(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Erase a job with the names and fingerprints of all that it read. Finds stay in the encounters."""
    from iii_client.rescan.ledger import Ledger

    with open_state() as (config, store):
        ledger = Ledger.open(store, config.state_dir, name)
        if not yes:
            items = plural(ledger.status().items, "item")
            typer.confirm(f"Erase {items}? Without them nothing can be rechecked.", abort=True, err=True)
        ledger.forget()
    out.print("erased")
    return ExitCode.NO_MATCH


# --- driving ----------------------------------------------------------------------------------------


def _drive(rescan: "Rescan", *, nice: int, json: bool) -> int:
    from iii_client.rescan import ChunkDone, Found
    from iii_client.rescan.report import status_as_json

    os.nice(nice)
    # Decoders warn about odd files on standard error; the verdict says all that an operator needs.
    warnings.simplefilter("ignore")
    with _stopping(rescan.stop) as was_stopped, _progress(rescan.ledger) as advance:
        for event in rescan.run():
            if isinstance(event, ChunkDone):
                advance(event.items, event.size_bytes, event.failed)
            elif isinstance(event, Found):
                advance(0, 0, 0, event.decision.verdict.outcome.value)
                if not json:
                    _print_found(event)
    found = rescan.ledger.status()
    if json:
        print_json_line(status_as_json(found))
    else:
        _print_status(found)
    if found.state.value != "finished":
        err.print(f"not finished: go on with  iii-client rescan resume {found.name}")
        return ExitCode.INTERRUPTED if was_stopped() else ExitCode.INCOMPLETE
    return _exit_code(found)


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM end it after what is under way; a second one at once. Yields whether one came."""
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        stop()
        err.print("stopping after the chunks under way; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _progress(ledger: "Ledger") -> Iterator[Callable[..., None]]:
    """Rate, finds and what was not scanned, on a terminal; nothing elsewhere."""
    if not err.is_terminal:
        yield lambda *_: None
        return
    begun, counts = time.monotonic(), {"items": 0, "bytes": 0, "failed": 0}
    found: dict[str, int] = {}
    with Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=20), console=err, transient=True
    ) as progress:
        task = progress.add_task(f"rescan {safe_text(ledger.name)}", total=None)

        def advance(items: int, size_bytes: int, failed: int, outcome: str = "") -> None:
            counts["items"] += items
            counts["bytes"] += size_bytes
            counts["failed"] += failed
            if outcome:
                found[outcome] = found.get(outcome, 0) + 1
            seconds = max(time.monotonic() - begun, 0.001)
            progress.update(
                task,
                description=(
                    f"{counts['items']:,} items, {counts['items'] / seconds:,.0f}/s, "
                    f"{size(int(counts['bytes'] / seconds))}/s, "
                    f"{found.get('matched', 0):,} matched, {found.get('unconfirmed', 0):,} unconfirmed, "
                    f"{found.get('unscannable', 0):,} unscannable, {counts['failed']:,} failed, "
                    f"{age(seconds)}"
                ),
            )

        yield advance


def _dry_run(urls: list[str], include: list[str], exclude: list[str], *, json: bool) -> int:
    """List only. A listing of a bucket costs a request for each 1,000 objects."""
    from iii_client.rescan.inventory import matcher, normal_root, open_inventory, refuse_overlap

    roots = [normal_root(url) for url in urls]
    refuse_overlap(roots)
    wanted = matcher(include, exclude)
    items = left_out = size_bytes = unknown = 0
    for root in roots:
        for entry in open_inventory(root).entries(""):
            if not wanted(entry.key):
                left_out += 1
                continue
            items += 1
            size_bytes += max(entry.size_bytes, 0)
            unknown += entry.size_bytes < 0
            if err.is_terminal and items % _TELL_EVERY == 0:
                err.print(f"{items:,} items…", end="\r")
    remote = sum("://" in root for root in roots) > 0
    estimate = {
        "items": items,
        "left_out": left_out,
        "size_bytes": size_bytes,
        "of_unknown_size": unknown,
        "get_requests": items if remote else 0,
        "stored_bytes": items * _STORED_BYTES,
    }
    if json:
        print_json_line(estimate)
        return ExitCode.NO_MATCH
    out.print(f"{plural(items, 'item')}, {size(size_bytes)} to read; {left_out:,} left out by the globs")
    if unknown:
        out.print(f"the listing names no size for {unknown:,} of them")
    if remote:
        out.print(f"a GET request for each item ({items:,}); ask your storage's price list what they cost")
    out.print(f"the fingerprints will take about {size(items * _STORED_BYTES)} in the state directory")
    return ExitCode.NO_MATCH


#: Measured: bytes a picture takes in a segment, with its name.
_STORED_BYTES = 600


# --- what a person sees -----------------------------------------------------------------------------


def _print_found(event: Any) -> None:
    verdict = event.decision.verdict
    why = ", ".join([*(s for match in verdict.matches for s in match.sources), *verdict.reasons])
    out.print(
        f"{verdict.outcome.value:12} {event.decision.action.value:11} {safe_text(why)}  "
        f"{safe_text(event.reference)}",
        soft_wrap=True,
    )


def _print_status(found: "JobStatus") -> None:
    out.print(
        f"[bold]{safe_text(found.name)}[/] {found.state.value}: {plural(found.items, 'item')}, "
        f"{size(found.size_bytes)}; {found.no_match:,} no match, [bold]{found.matched:,} matched[/], "
        f"{found.unconfirmed:,} unconfirmed, {found.unscannable:,} unscannable, {found.failed:,} failed"
    )
    for reason, count in sorted(found.reasons.items(), key=lambda entry: -entry[1]):
        out.print(f"  {count:>9,}  {safe_text(reason)}")
    if found.redone:
        out.print(f"  {found.redone:,} items were handed out again because a process ended")


def _exit_code(found: "JobStatus") -> ExitCode:
    """Matches first, then incompleteness."""
    if found.matched:
        return ExitCode.MATCHES_FOUND
    if found.unconfirmed or found.unscannable or found.failed or found.state.value != "finished":
        return ExitCode.INCOMPLETE
    return ExitCode.NO_MATCH


@contextmanager
def _output(path: Path | None) -> Iterator[Any]:
    if path is None:
        yield sys.stdout
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline=""
        ) as file:
            yield file
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(f"the report cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
