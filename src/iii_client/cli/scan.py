"""`iii-client scan`: files and folders on this machine."""

import json as jsonlib
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from iii_client.cli.exits import ExitCode
from iii_client.cli.render import err, joined, out, plural, print_json_line, safe_text
from iii_client.cli.walk import iter_files
from iii_client.errors import ConfigurationError
from iii_client.model import Action, Decision, Mode, Outcome, Reason, UploadContext

#: Rows that a person still reads; everything is in the summary and in --json.
MAX_TABLE_ROWS = 500


def scan(
    names: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files and folders.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object a file on standard output.")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Hashing processes; 0 takes every core.")] = 0,
    summary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the summary there, as JSON.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Also list files without a match.")] = False,
    quarantine: Annotated[
        bool,
        typer.Option(
            "--quarantine", help="Move what the policy holds or blocks into quarantine, restorable."
        ),
    ] = False,
) -> int:
    """Scan files and folders, and say what was found.

    Links to folders are not followed. Nothing is moved or deleted, unless --quarantine says so.
    """
    from iii_client.cli.holding import holder
    from iii_client.config import Config
    from iii_client.content import Content
    from iii_client.scanner import ScanItem, Scanner

    if "" in names:
        # Path("") is the working directory: an unset variable in a script must not scan that.
        raise ConfigurationError("an empty path was given", hint="Is a variable of your script unset?")
    paths = [Path(name) for name in names]
    config = Config.from_env()
    totals = Totals(mode=config.mode)
    report = Report(show_all=show_all, as_json=json)

    def items() -> Iterator[ScanItem]:
        for path in iter_files(paths):
            context = UploadContext(route="iii-client scan", reference=str(path), stored=True)
            yield ScanItem(content=Content.from_path(path), context=context)

    # Decoders warn about odd files on standard error; the verdict says all that an operator needs.
    warnings.simplefilter("ignore")
    # Opened first: a summary that cannot be written must be known before hours of work, not after.
    with (
        _summary_file(summary) as summary_file,
        Scanner.from_config(config, counts_hits=False) as scanner,
        holder(config, roots=paths, wanted=quarantine) as holding,
    ):
        try:
            with _progress(paths) as advance:
                for item, decision in scanner.scan_many(items(), jobs=jobs or len(os.sched_getaffinity(0))):
                    totals.add(decision)
                    held = holding.hold(item.context.reference, decision) if holding else ""
                    report.add(item.context.reference, decision, held=held)
                    advance()
        finally:
            if holding is not None:
                totals.held, totals.not_held = holding.held, holding.failed
            # Also when interrupted: what was found until then was found.
            report.finish()
            totals.print_to(err if json else out)
            if summary_file is not None:
                jsonlib.dump(totals.as_json(), summary_file, indent=2)
                summary_file.write("\n")
    return totals.exit_code


class Report:
    """What is said of single files: JSON lines as they come, or a table at the end. Bounded."""

    def __init__(self, *, show_all: bool, as_json: bool) -> None:
        self._show_all = show_all
        self._as_json = as_json
        self._table = _new_table()
        self._left_out = 0

    def add(self, path: str, decision: Decision, *, held: str = "") -> None:
        """Take one decision; `held` is the id of the file if it was moved into quarantine."""
        if self._as_json:
            print_json_line({**decision_as_json(path, decision), **({"held": held} if held else {})})
        elif self._show_all or decision.verdict.outcome is not Outcome.NO_MATCH:
            if self._table.row_count < MAX_TABLE_ROWS:
                _add_row(self._table, path, decision)
            else:
                self._left_out += 1

    def finish(self) -> None:
        """Print the table, if there is anything in it."""
        if self._table.row_count:
            out.print(self._table)
        if self._left_out:
            out.print(f"… and {self._left_out:,} more; --json lists every file")


@contextmanager
def _summary_file(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the summary cannot be written: {error.strerror}") from None
    with file:
        yield file


class Totals:
    """Counts of one run, and what they mean for the exit code."""

    def __init__(self, *, mode: Mode) -> None:
        self._started = time.monotonic()
        self._mode = mode
        self.files = 0
        self.outcomes: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome})
        self.actions: Counter[str] = Counter({action.value: 0 for action in Action})
        self.reasons: Counter[str] = Counter()
        self.candidates = 0
        self.false_candidates = 0
        self.hashes_sent = 0
        self.not_recorded = 0
        self.held = 0
        self.not_held = 0
        self._held_unscannable = 0
        self._releases: set[str] = set()

    def add(self, decision: Decision) -> None:
        """Count one decision."""
        verdict = decision.verdict
        self.files += 1
        self.outcomes[verdict.outcome.value] += 1
        self.actions[decision.action.value] += 1
        self.reasons.update(reason.value for reason in verdict.reasons)
        self.candidates += bool(verdict.candidates)
        self.false_candidates += bool(verdict.candidates) and verdict.outcome is Outcome.NO_MATCH
        self.hashes_sent += verdict.hashes_sent
        self.not_recorded += decision.recorded.value == "failed"
        # "By policy": what the rows allow (a format that is not enabled) leaves the run complete.
        self._held_unscannable += (
            verdict.outcome is Outcome.UNSCANNABLE and decision.ruled is not Action.ALLOW
        )
        self._releases.add(str(verdict.release))

    @property
    def exit_code(self) -> ExitCode:
        """Matches first, then incompleteness."""
        if self.outcomes["matched"]:
            return ExitCode.MATCHES_FOUND
        if self._held_unscannable or self.outcomes["unconfirmed"] or self.not_held:
            return ExitCode.INCOMPLETE
        return ExitCode.NO_MATCH

    def as_json(self) -> dict[str, Any]:
        """The summary for machines."""
        return {
            "files": self.files,
            "outcomes": dict(self.outcomes),
            "actions": dict(self.actions),
            "reasons": dict(self.reasons),
            "candidates": self.candidates,
            "false_candidates": self.false_candidates,
            "hashes_sent": self.hashes_sent,
            "not_recorded": self.not_recorded,
            "held": self.held,
            "not_held": self.not_held,
            "releases": sorted(self._releases),
            "mode": self._mode.value,
            "filter_bypassed": Reason.FILTER_BYPASSED.value in self.reasons,
            "seconds": round(time.monotonic() - self._started, 3),
        }

    def print_to(self, console: Any) -> None:
        """The summary for people: what was found first, what left the machine last."""
        seconds = time.monotonic() - self._started
        outcomes = ", ".join(f"{count:,} {name}" for name, count in self.outcomes.items())
        console.print(f"[bold]{plural(self.files, 'file')}[/] in {seconds:.1f} s: {outcomes}")
        console.print(
            f"{plural(self.candidates, 'candidate')} from the filter "
            f"({self.false_candidates:,} not listed by the service), "
            f"[bold]{plural(self.hashes_sent, 'hash')} sent[/], 0 pictures sent"
        )
        if self.held:
            console.print(f"{plural(self.held, 'file')} moved into quarantine: iii-client quarantine list")
        if self.not_held:
            console.print(f"[bold red]{plural(self.not_held, 'file')} could not be moved into quarantine[/]")
        if self._mode is Mode.SHADOW:
            console.print("mode is shadow: everything is allowed, actions are only what would be done")
        if Reason.FILTER_BYPASSED.value in self.reasons:
            console.print(
                "[bold yellow]III_FILTER=none:[/] no filter is used; a digest of EVERY picture was sent"
            )
        if Reason.NO_FILTER.value in self.reasons:
            console.print(
                "[bold yellow]no usable filter is installed:[/] run 'iii-client filter update' "
                "('iii-client doctor' says why); until then nothing can be called innocent"
            )
        if self.not_recorded:
            console.print(
                f"[bold red]{plural(self.not_recorded, 'decision')} could not be recorded:[/] "
                "check space and permissions of the state directory"
            )


def decision_as_json(path: str, decision: Decision) -> dict[str, Any]:
    """One file's line. Hashes are not in it: a listed hash in a log file is itself sensitive."""
    verdict = decision.verdict
    return {
        "path": path,
        "outcome": verdict.outcome.value,
        "action": decision.action.value,
        "ruled": decision.ruled.value,
        "rule": decision.rule,
        "reasons": [reason.value for reason in verdict.reasons],
        "matches": [
            {
                "algorithm": match.hash.algorithm.value,
                "distance_bits": match.distance_bits,
                "exact": match.exact,
                "sources": list(match.sources),
                "categories": [
                    {"scheme": c.scheme, "code": c.code, "source": c.source} for c in match.categories
                ],
            }
            for match in verdict.matches
        ],
        "release": str(verdict.release),
        "kind": verdict.fingerprint.kind,
        "skipped": [
            {"what": skip.what, "reason": skip.reason.value, "detail": skip.detail}
            for skip in verdict.fingerprint.skipped
        ],
        "hashes_sent": verdict.hashes_sent,
        "encounter_id": decision.encounter_id,
        "recorded": decision.recorded.value,
    }


_STYLE = {
    Outcome.MATCHED: "bold red",
    Outcome.UNCONFIRMED: "yellow",
    Outcome.UNSCANNABLE: "magenta",
    Outcome.NO_MATCH: "green",
}


def _new_table() -> Table:
    table = Table("outcome", "action", "why", box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    return table


def _add_row(table: Table, path: str, decision: Decision) -> None:
    outcome = decision.verdict.outcome
    action = decision.action.value
    if decision.ruled is not decision.action:
        action += f" (would {decision.ruled.value})"
    table.add_row(
        f"[{_STYLE[outcome]}]{outcome.value}[/]", action, safe_text(_why(decision)), safe_text(path)
    )


def _why(decision: Decision) -> str:
    verdict = decision.verdict
    found = [
        f"{match.hash.algorithm} {'exact' if match.exact else f'distance {match.distance_bits}'}"
        + (f" ({joined(match.sources)})" if match.sources else "")
        for match in verdict.matches
    ]
    return joined([*found, *(reason.value for reason in verdict.reasons)]) or decision.rule


@contextmanager
def _progress(paths: list[Path]) -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere. Yields the function that advances it."""
    if not err.is_terminal:
        yield lambda: None
        return
    total = sum(1 for _ in iter_files(paths))
    columns = (TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("scanning", total=total)
        yield lambda: progress.advance(task)
