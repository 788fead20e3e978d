"""`iii-client data purge`: forgetting what is settled, or what belongs to one uploader."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import out, plural, print_json_line
from iii_client.cli.state import moment, open_state
from iii_client.errors import RecordError

if TYPE_CHECKING:
    from iii_client.records.cache import Cache
    from iii_client.updates import RecentNegatives

app = typer.Typer(no_args_is_help=True, help="Personal data: what is kept, for how long, and forgetting it.")

_MEANS = {
    "legal_hold": "under legal hold",
    "in_quarantine": "with a file in quarantine",
    "waits_for_the_service": "waiting for the service",
    "waits_for_a_person": "waiting for a person (iii-client review list)",
    "still_reachable": "matches that users can still reach (iii-client review overdue)",
    "message_to_the_service": "with a message to the service that waits (iii-client dispute)",
}


@app.command()
def purge(
    older_than: Annotated[
        str,
        typer.Option("--older-than", metavar="TIME", help="30d, 2026-10-01. Default: records.keep_days."),
    ] = "",
    uploader: Annotated[
        str, typer.Option("--uploader", metavar="ID", help="All of one uploader, however new: an erasure.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> None:
    """Delete records of settled cases. What is open or under legal hold stays; the audit log stays whole.

    Run it daily. Audit entries hold no personal data of uploaders, so they stay.
    """
    from iii_client.records.cache import Cache
    from iii_client.records.pseudonyms import PseudonymKey
    from iii_client.records.retention import purge_records
    from iii_client.updates import RecentNegatives

    by, now = operators(operator, second), datetime.now(UTC)
    with open_state() as (config, store):
        if older_than:
            before = moment(older_than, option="--older-than", now=now)
        else:
            # Of one uploader everything goes: who asks to be forgotten need not wait.
            before = now if uploader else now - timedelta(days=config.records.keep_days)
        report = purge_records(
            store,
            older_than=before,
            uploader_key=PseudonymKey(config.state_dir / "encounter.key").of(uploader),
            by=by,
            dry_run=dry_run,
            now=now,
        )
        if not dry_run:
            _forget_cached(Cache.from_config(config), everything=bool(uploader), before=before)
            _forget_negatives(RecentNegatives(config.state_dir), everything=bool(uploader), before=before)
    if json:
        print_json_line(
            {
                "deleted": report.deleted,
                "notices": report.notices,
                "kept": dict(report.kept),
                "dry_run": dry_run,
            }
        )
        return
    would = "would be deleted" if dry_run else "deleted"
    out.print(
        f"{plural(report.deleted, 'case')} and {plural(report.notices, 'notice')} {would}"
        + ("" if dry_run else "; cache and recent negatives forgot what is as old")
    )
    for reason, count in report.kept.items():
        out.print(f"  {count:,} kept: {_MEANS[reason]}")


def _forget_cached(cache: "Cache", *, everything: bool, before: datetime) -> None:
    """The cache does not know who uploaded what, so for one uploader all of it goes: that costs time only."""
    if everything:
        cache.forget_all()
    else:
        cache.forget_before(before)
    cache.close()


def _forget_negatives(negatives: "RecentNegatives", *, everything: bool, before: datetime) -> None:
    """Nor do the recent negatives know whose they are: until there are new ones, one gate of an update has
    less to go by."""
    try:
        if everything:
            negatives.forget_all()
        else:
            negatives.forget_before(before)
    except OSError as error:
        raise RecordError(
            f"the recent negatives cannot be forgotten: {error.strerror}",
            hint="Check space and permissions of the state directory, and run this again.",
        ) from None
