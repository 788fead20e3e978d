"""`iii-client filter rollback|accept|mirror`: what a person decides about the filter, and it is audited.

The order is: audit first, then act. An act that fails afterwards is in the log as one that was ordered; one
that nobody could write down is not done.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from iii_client.cli.download_bar import download_bar
from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import err, out, print_json_line, size
from iii_client.config import Config
from iii_client.errors import ConfigurationError, NoFilterError, RecordError
from iii_client.model import ReleaseId

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def rollback(
    release: Annotated[
        str, typer.Argument(help="The release to go back to, e.g. 5.17. Default: the newest older one.")
    ] = "",
    operator: OperatorOption = "",
    second: SecondOption = "",
    json: JsonOption = False,
) -> None:
    """Use an older release that is still on disk, and hold the present one back.

    Updates do not undo it: the release, and what builds on it within its epoch, stays away until the
    publisher's next base or `filter accept`.
    """
    from iii_client.updates import FilterStore
    from iii_client.updates.durable import named_disk_errors

    config, people, now = Config.from_env(), operators(operator, second), datetime.now(UTC)
    store = FilterStore(config.state_dir)
    with named_disk_errors("the filter", "III_STATE_DIR"), store.lock():
        present, older = store.installed(), store.older()
        wanted = _release_id(release) if release else None
        target = next((r for r in older if wanted in (None, r.id)), None)
        if target is None:
            here = ", ".join(str(r.id) for r in older) or "none"
            raise NoFilterError(
                "that release is not on disk" if release else "there is no older release on disk",
                hint=f"On disk and older than {present.id}: {here}.",
            )
        _audit(
            config,
            "filter_rollback",
            {"from": str(present.id), "to": str(target.id), **people.named},
            now=now,
        )
        # The hold first: a crash in between leaves the present release, which a second call rolls back.
        held = store.holds.hold_back(present, now=now)
        store.roll_back(target)
    if json:
        print_json_line({"release": str(target.id), "previous": str(present.id)})
    else:
        out.print(
            f"release {target.id} is in use (before: {present.id}); {held.release} is held back until the "
            f"publisher's next base, or: iii-client filter accept {held.release}"
        )


def accept(
    release: Annotated[str, typer.Argument(help="The held release, as `filter status` names it.")],
    operator: OperatorOption = "",
    second: SecondOption = "",
    json: JsonOption = False,
) -> None:
    """Let a held release pass; the next update installs it.

    Ask the publisher first: a release is held when files that this host saw as harmless would become hits.
    """
    from iii_client.updates import FilterStore
    from iii_client.updates.durable import named_disk_errors

    config, people, now = Config.from_env(), operators(operator, second), datetime.now(UTC)
    store = FilterStore(config.state_dir)
    wanted = _release_id(release)
    with named_disk_errors("the filter", "III_STATE_DIR"), store.lock():
        hold = store.holds.waiting(wanted)
        _audit(
            config,
            "filter_accept",
            {"release": str(hold.release), "because": str(hold.because), **people.named},
            now=now,
        )
        store.holds.accept(wanted, now=now)
    if json:
        print_json_line({"release": str(hold.release), "accepted": True})
    else:
        out.print(f"release {hold.release} may pass; now run: iii-client filter update")


def mirror(
    directory: Annotated[Path, typer.Argument(help="Where; serve `public/` below it to your other hosts.")],
    json: JsonOption = False,
) -> None:
    """Keep a verified copy of the filter repository for your other hosts: one fetches, many read.

    The other hosts set III_FILTER_URL to the mirror and III_FILTER_ROOT to the same root.json. They check all
    signatures themselves: the mirror is trusted by nobody.
    """
    from iii_client.updates.mirror import mirror as bring_mirror
    from iii_client.updates.updater import read_root

    config = Config.from_env()
    with download_bar() as moved:
        report = bring_mirror(config.filter, read_root(config.filter.root), directory, progress=moved)
    if json:
        print_json_line(
            {
                "release": str(report.release),
                "files_fetched": report.files_fetched,
                "bytes_fetched": report.bytes_fetched,
            }
        )
    else:
        out.print(
            f"the mirror has release {report.release}; {report.files_fetched} new files, "
            f"{size(report.bytes_fetched)} fetched"
        )


def alarm_of(config: Config) -> Callable[[str, str], None]:
    """Raises the updater's alarms where `iii-client` keeps all of them. Never fails: the update's own error
    must be seen."""

    def alarm(kind: str, detail: str) -> None:
        from iii_client.records.alarms import raise_alarm
        from iii_client.records.opening import open_store

        try:
            store = open_store(config.records, config.state_dir)
            with store.transaction() as tx:
                raise_alarm(tx, kind, detail, now=datetime.now(UTC))
            store.close()
        except (RecordError, ConfigurationError) as error:
            err.print(f"[yellow]the alarm could not be recorded[/]: {error}")

    return alarm


def _audit(config: Config, kind: str, body: dict[str, str], *, now: datetime) -> None:
    from iii_client.records.audit import append_audit
    from iii_client.records.opening import open_store

    store = open_store(config.records, config.state_dir)
    with store.transaction() as tx:
        append_audit(tx, kind, body, now=now)
    store.close()


def _release_id(text: str) -> ReleaseId:
    try:
        return ReleaseId.parse(text)
    except ValueError:
        raise ConfigurationError(
            "a release is named by its epoch and sequence, such as 5.17",
            hint="`iii-client filter status` names what is installed and held.",
        ) from None
