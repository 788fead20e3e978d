"""`iii-client filter update|status|verify`: the life of the installed filter."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from iii_client.cli.render import out, plural, print_json_line, safe_text, signed_ago, size
from iii_client.config import Config
from iii_client.model import Release, freshness

app = typer.Typer(no_args_is_help=True, help="Bring the signed filter up to date, look at it, verify it.")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@app.command()
def update(json: JsonOption = False) -> None:
    """Download the newest release, verify it against the pinned trust root, and install it atomically."""
    from iii_client.updates import Updater

    config = Config.from_env()
    report = Updater(config.filter, config.state_dir).update()
    if json:
        print_json_line(
            {
                "release": str(report.release),
                "previous": str(report.previous),
                "changed": report.changed,
                "bytes_fetched": report.bytes_fetched,
            }
        )
    elif report.changed:
        out.print(
            f"installed release {report.release} (before: {report.previous}), "
            f"{size(report.bytes_fetched)} fetched"
        )
    else:
        out.print(f"release {report.release} is the newest; nothing changed")


@app.command()
def status(json: JsonOption = False) -> None:
    """Show the installed release: age, exact sections, near segments, size."""
    from iii_client.updates import FilterStore

    now = datetime.now(UTC)
    release = FilterStore(Config.from_env().state_dir).installed()
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
    if release.withdrawn:
        out.print(f"{plural(len(release.withdrawn), 'hash')} of near segments withdrawn")
    if release.is_practice:
        out.print("[yellow]practice segments: for harmless pictures, not to be relied on[/]")


@app.command()
def verify(json: JsonOption = False) -> None:
    """Check the installed bytes against their signed digests. Exit 4 when they differ."""
    from iii_client.updates import FilterStore

    store = FilterStore(Config.from_env().state_dir)
    release = store.verify()
    if json:
        print_json_line({"release": str(release.id), "verified": True, "size_bytes": _all_bytes(release)})
    else:
        out.print(f"release {release.id} is what was signed ({size(_all_bytes(release))})")


def _all_bytes(release: Release) -> int:
    return release.size_bytes + sum(segment.size_bytes for segment in release.near)
