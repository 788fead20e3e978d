"""`iii-client filter update|status|verify`: the life of the installed filter.

What a person decides about it (rollback, accept, mirror) is in `filter_decisions.py`.
"""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from iii_client.cli import filter_decisions
from iii_client.cli.download_bar import download_bar
from iii_client.cli.filter_decisions import alarm_of
from iii_client.cli.render import (
    age,
    coverage_table,
    err,
    out,
    plural,
    print_json_line,
    safe_text,
    signed_ago,
    size,
)
from iii_client.config import Config
from iii_client.model import CLOCK_TOLERANCE_S, Release, freshness

app = typer.Typer(no_args_is_help=True, help="Bring the signed filter up to date, look at it, verify it.")

app.command("rollback")(filter_decisions.rollback)
app.command("accept")(filter_decisions.accept)
app.command("mirror")(filter_decisions.mirror)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@app.command()
def update(
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only when the schedule says so: for timers.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Download what is new, verify it against the pinned trust root, judge it, and install it atomically.

    With --if-due it does nothing, and says so with exit code 0, until an hour after the last success, or
    until the back-off after a failure is over; any number of timers and workers may call it.
    """
    from iii_client.updates import Updater

    config = Config.from_env()
    with download_bar() as moved:
        updater = Updater(config.filter, config.state_dir, alarm=alarm_of(config), progress=moved)
        report = updater.update_if_due() if if_due else updater.update()
    if report is None:
        if json:
            print_json_line({"due": False})
        else:
            out.print("not due yet, or another process is at it; without --if-due it is done now")
        return
    if json:
        print_json_line(
            {
                "release": str(report.release),
                "previous": str(report.previous),
                "changed": report.changed,
                "bytes_fetched": report.bytes_fetched,
                "clock_skew_s": report.clock_skew_s,
            }
        )
        return
    if report.changed:
        out.print(
            f"installed release {report.release} (before: {report.previous}), "
            f"{size(report.bytes_fetched)} fetched"
        )
    else:
        out.print(f"release {report.release} is the newest; nothing changed")
    skew_s = report.clock_skew_s or 0.0
    if abs(skew_s) > CLOCK_TOLERANCE_S:
        where = "ahead of" if skew_s > 0 else "behind"
        err.print(
            f"[yellow]this machine's clock is {age(abs(skew_s))} {where} the server's[/]: set it (NTP), or "
            "the filter's age is wrong"
        )


@app.command()
def status(json: JsonOption = False) -> None:
    """Show the installed release: age, exact sections, near segments, size."""
    from iii_client.updates import FilterStore
    from iii_client.updates.schedule import read_schedule

    now = datetime.now(UTC)
    store = FilterStore(Config.from_env().state_dir)
    release, hold, schedule = store.installed(), store.holds.read(), read_schedule(store.schedule_path)
    state = freshness(release.signed_at, now=now)
    age_s = (now - release.signed_at).total_seconds()
    if json:
        print_json_line(
            {
                "release": str(release.id),
                "freshness": state.value,
                "signed_at": release.signed_at.isoformat(),
                "expires_at": release.expires_at.isoformat(),
                "age_s": round(age_s),
                "size_bytes": release.size_bytes,
                "sha256": release.sha256,
                "sections": [
                    {
                        "name": section.name,
                        "count": section.count,
                        "capacity": section.capacity,
                        "error_rate": section.error_rate,
                        "size_bytes": section.size_bytes,
                    }
                    for section in release.sections
                ],
                "near": [
                    {
                        "name": segment.name,
                        "algorithm": str(segment.algorithm),
                        "number": segment.number,
                        "count": segment.count,
                        "size_bytes": segment.size_bytes,
                        "practice": segment.practice,
                    }
                    for segment in release.near
                ],
                "withdrawn": len(release.withdrawn),
                "coverage": [
                    {
                        "list": row.list_name,
                        "kind": row.kind.value,
                        "source": row.source,
                        "algorithm": row.algorithm.value,
                        "hashes": row.hashes,
                        "near": row.near if release.near else 0,
                        "waiting": row.waiting,
                    }
                    for row in release.coverage
                ],
                "mappings": [{"name": one.name, "version": one.version} for one in release.mappings],
                "held": hold and {"release": str(hold.release), "because": str(hold.because)},
                "failures": schedule.failures if schedule else 0,
                "due_at": schedule.due_at.isoformat() if schedule else None,
            }
        )
        return
    out.print(f"release {release.id}: {state.value}, {signed_ago(age_s)}, {size(_all_bytes(release))}")
    table = Table("section", "hashes", "room for", "false positives", "size", box=None, pad_edge=False)
    for section in release.sections:
        table.add_row(
            safe_text(section.name),
            f"{section.count:,}",
            f"{section.capacity:,}",
            f"{section.error_rate:.0e}",
            size(section.size_bytes),
        )
    for segment in release.near:
        name = f"{segment.name} (practice)" if segment.practice else segment.name
        table.add_row(name, f"{segment.count:,}", "-", "-", size(segment.size_bytes))
    out.print(table)
    if release.coverage:
        out.print(coverage_table(release.coverage))
        if any(row.can_near_match for row in release.coverage) and not release.near:
            out.print("[yellow]near segments are not fetched here (III_FILTER_NEAR): no near matches[/]")
    if release.withdrawn:
        out.print(f"{plural(len(release.withdrawn), 'hash')} of near segments withdrawn")
    if hold and not hold.accepted_at:
        out.print(
            f"[bold red]release {hold.release} is held[/] ({hold.because}): iii-client filter accept "
            f"{hold.release}"
        )
    if schedule and schedule.failures:
        out.print(
            f"[yellow]{plural(schedule.failures, 'update')} in a row failed[/]; the next try is due "
            f"{schedule.due_at:%Y-%m-%d %H:%M} UTC"
        )
    if release.is_practice:
        out.print("[yellow]practice segments: for harmless pictures, not to be relied on[/]")


@app.command()
def verify(json: JsonOption = False) -> None:
    """Check the installed bytes against what the keys of the pinned root signed. Exit 4 when they differ."""
    from iii_client.updates import FilterStore
    from iii_client.updates.proof import check_proof
    from iii_client.updates.updater import read_root

    config = Config.from_env()
    store = FilterStore(config.state_dir)
    release = store.verify()
    check_proof(
        release,
        store.proof_file(release),
        root=read_root(config.filter.root),
        metadata_dir=store.metadata_dir,
    )
    if json:
        print_json_line({"release": str(release.id), "verified": True, "size_bytes": _all_bytes(release)})
    else:
        out.print(f"release {release.id} is what was signed ({size(_all_bytes(release))})")


def _all_bytes(release: Release) -> int:
    return release.size_bytes + sum(segment.size_bytes for segment in release.near)
