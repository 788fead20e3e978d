"""The state directory, the records in it, and what waits there for the service or for a person."""

import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from iii_client.cli.checks.finding import Check, State
from iii_client.cli.exits import ExitCode
from iii_client.cli.render import age, joined, plural
from iii_client.config import RecordsConfig

#: Types in /proc/self/mounts that a restart of the machine, or of a container, empties.
FLEETING_FILESYSTEMS = frozenset({"tmpfs", "ramfs", "overlay"})

#: An item that waits so long, in seconds, means that the service is down or that nobody drains.
LONG_PENDING_S = 3600


def state_directory(path: Path) -> Check:
    name = "state directory"
    if not path.exists():
        # Not made here: doctor is often run as another user than the service, who could then not use it.
        return Check(name=name, state=State.OK, says=f"{path} (made on first use, by whoever uses it first)")
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        return Check(
            name=name,
            state=State.FAIL,
            says=f"{path} cannot be written: {error.strerror}",
            todo="Set III_STATE_DIR to a folder on a local, persistent disk that this user may write.",
            exit_code=ExitCode.USAGE,
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Check(
            name=name,
            state=State.WARN,
            says=f"{path} can be read by other users",
            todo="It holds the filter and evidence: chmod 700 it.",
        )
    from iii_client.records.filesystem import filesystem_of

    # No warning: whether a mount is put back after a restart is not to be seen from here.
    fleeting = (
        "It lies in memory or in a container's own layer. If that is not kept over a restart, outbox and "
        "audit log are lost, and an older filter could be shown to this host: mount a persistent volume."
    )
    kind = filesystem_of(path)
    return Check(
        name=name, state=State.OK, says=str(path), without=fleeting if kind in FLEETING_FILESYSTEMS else ""
    )


def records(config: RecordsConfig, state_dir: Path) -> list[Check]:
    """The database, the outbox and the alarms."""
    from iii_client.records.opening import open_store
    from iii_client.records.overview import look_over

    if not config.database and not (state_dir / "state.db").exists():
        return [Check(name="records", state=State.OK, says="nothing recorded yet")]
    store = open_store(config, state_dir)
    try:
        with store.reading() as tx:
            ((count,),) = tx.query("SELECT count(*) FROM encounter")
        now = datetime.now(UTC)
        overview = look_over(store, now=now)
    finally:
        store.close()
    where = "in PostgreSQL" if config.database else "in state.db"
    oldest = overview.outbox.oldest_pending_at
    waited_s = (now - oldest).total_seconds() if oldest else 0.0
    return [
        Check(name="records", state=State.OK, says=f"{plural(count, 'encounter')} {where}"),
        _outbox(overview.outbox.pending, overview.outbox.for_review, waited_s),
        _alarms([alarm.kind for alarm in overview.alarms]),
    ]


def _outbox(pending: int, for_review: int, waited_s: float) -> Check:
    says = f"{plural(pending, 'item')} waiting for the service, {for_review} for a person"
    if waited_s > LONG_PENDING_S:
        return Check(
            name="outbox",
            state=State.WARN,
            says=f"{says}; the oldest for {age(waited_s)}",
            todo="Does anybody drain it? Run iii-client outbox drain from a timer, or a background drainer. "
            "Is the service down? iii-client service status",
        )
    todo = "iii-client review list" if for_review else ""
    return Check(name="outbox", state=State.WARN if for_review else State.OK, says=says, todo=todo)


def _alarms(kinds: list[str]) -> Check:
    if not kinds:
        return Check(name="alarms", state=State.OK, says="none open")
    return Check(
        name="alarms",
        state=State.WARN,
        says=f"open: {joined(kinds)}",
        todo="iii-client alarm list, and dismiss what is seen to.",
    )
