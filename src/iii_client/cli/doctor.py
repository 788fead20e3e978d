"""`iii-client doctor`: what is configured, reachable and fresh, and what to do about the rest."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from iii_client.cli.exits import ExitCode
from iii_client.cli.render import out, plural, print_json_line, safe_text, signed_ago
from iii_client.config import MODE_HINT, NO_MODE, Config, FilterConfig, PolicyConfig, ServiceConfig
from iii_client.errors import ConfigurationError, FilterError, IIIError, TrustError
from iii_client.model import Freshness, Mode, freshness

#: Types in /proc/self/mounts that a restart of the machine, or of a container, empties.
FLEETING_FILESYSTEMS = frozenset({"tmpfs", "ramfs", "overlay"})

#: A person is waiting, and a first connection may be slow.
REACH_TIMEOUT_S = 10.0
MAX_TIMESTAMP_BYTES = 16 << 10


class State(StrEnum):
    """How one check ended. MISSING is somebody's decision or delivery still to come."""

    OK = "ok"
    WARN = "warn"
    MISSING = "missing"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        says: what is so.
        todo: whom to ask or what to do; empty when nothing is to be done.
        without: what works all the same.
    """

    name: str
    state: State
    says: str
    todo: str = ""
    without: str = ""
    exit_code: ExitCode = ExitCode.NO_MATCH


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Say what is configured, reachable and fresh, and for each missing piece what to do."""
    checks = run_checks(os.environ)
    if json:
        print_json_line(
            {
                "checks": [
                    {
                        "name": check.name,
                        "state": check.state.value,
                        "says": check.says,
                        "todo": check.todo,
                        "without": check.without,
                    }
                    for check in checks
                ]
            }
        )
    else:
        out.print(_table(checks))
    codes = {check.exit_code for check in checks}
    # Precedence: a trust failure outweighs everything, then configuration, then what is not there yet.
    for code in (ExitCode.TRUST_FAILURE, ExitCode.USAGE, ExitCode.INCOMPLETE):
        if code in codes:
            return code
    return ExitCode.NO_MATCH


def run_checks(environment: Mapping[str, str]) -> list[Check]:
    """Every check, in the order in which a hoster sets things up."""
    try:
        config = Config.from_env(environment)
        checks = [_mode_is(config.mode)]
    except ConfigurationError as error:
        if str(error) != NO_MODE:
            return [_failed("settings", error)]
        # Only the mode is missing: say so, and look at the rest all the same.
        checks = [
            Check(
                name="mode",
                state=State.MISSING,
                says=str(error),
                todo=MODE_HINT,
                without="iii-client demo, sandbox and test-picture need no mode; nothing is scanned without.",
                exit_code=ExitCode.USAGE,
            )
        ]
        config = Config.from_env({**environment, "III_MODE": Mode.SHADOW.value})
    return [
        *checks,
        _guard("policy", lambda: _policy(config.policy)),
        _guard("state directory", lambda: _state_dir(config.state_dir)),
        _guard("records", lambda: _records(config.state_dir)),
        *_filter_checks(config.filter, config.state_dir),
        _guard("service", lambda: _service(config.service)),
        _guard("http library", _http_library),
        _guard("formats", _formats),
    ]


def _mode_is(mode: Mode) -> Check:
    if mode is Mode.ENFORCE:
        return Check(name="mode", state=State.OK, says="enforce: actions are carried out")
    return Check(
        name="mode",
        state=State.WARN,
        says="shadow: every upload passes, decisions only say what would have been done",
        todo="Set III_MODE=enforce when the summaries look right to you.",
    )


def _policy(config: PolicyConfig) -> Check:
    from iii_client.decide import TablePolicy

    TablePolicy(config)
    changed = f"{plural(len(config.rules), 'row')} of your own" if config.rules else "the default rows"
    return Check(name="policy", state=State.OK, says=changed)


def _records(state_dir: Path) -> Check:
    from iii_client.records import SqliteStore

    file = state_dir / "state.db"
    if not file.exists():
        return Check(name="records", state=State.OK, says="nothing recorded yet")
    database = SqliteStore(file)
    with database.transaction() as tx:
        ((count,),) = tx.query("SELECT count(*) FROM encounter")
    database.close()
    return Check(name="records", state=State.OK, says=f"{plural(count, 'encounter')} recorded")


def _state_dir(path: Path) -> Check:
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


def _filter_checks(config: FilterConfig, state_dir: Path) -> list[Check]:
    if config.bypassed:
        return [
            Check(
                name="filter",
                state=State.WARN,
                says="III_FILTER=none: NO FILTER IS USED. A digest of EVERY picture is sent to the service, "
                "innocent or not, and near copies are not found.",
                todo="A bridge only: ask your service for a signed filter, then unset III_FILTER.",
            )
        ]
    return [
        _guard("trust root", lambda: _trust_root(config, state_dir)),
        _guard("filter source", lambda: _filter_source(config)),
        _guard("filter", lambda: _installed_filter(state_dir)),
    ]


def _trust_root(config: FilterConfig, state_dir: Path) -> Check:
    name = "trust root"
    if not config.root:
        return Check(
            name=name,
            state=State.MISSING,
            says="no trust root is pinned",
            todo="Ask the organisation that publishes the filter for its root.json, compare its SHA-256 by "
            "telephone, and set III_FILTER_ROOT to the file.",
            without="A filter that is installed already goes on working until it expires.",
            exit_code=ExitCode.USAGE,
        )
    from iii_client.updates import FilterStore
    from iii_client.updates.pinning import check_pinned_root
    from iii_client.updates.trust import MAX_ROOT_BYTES, parse_root

    try:
        with Path(config.root).open("rb") as file:
            root = file.read(MAX_ROOT_BYTES)
    except OSError as error:
        return Check(
            name=name,
            state=State.FAIL,
            says=f"{config.root} cannot be read: {error.strerror}",
            todo="Set III_FILTER_ROOT to the root.json that you were given.",
            exit_code=ExitCode.USAGE,
        )
    parse_root(root)
    check_pinned_root(FilterStore(state_dir).metadata_dir, root)
    return Check(name=name, state=State.OK, says=f"{config.root}, SHA-256 {hashlib.sha256(root).hexdigest()}")


def _filter_source(config: FilterConfig) -> Check:
    if config.url:
        from iii_client.filters import utc_now
        from iii_client.updates.fetcher import RepositoryFetcher
        from iii_client.updates.naming import named_errors

        fetcher = RepositoryFetcher(config, clock=utc_now, deadline_s=REACH_TIMEOUT_S)
        url = f"{config.url}/metadata/timestamp.json"
        with named_errors(fetcher):
            fetcher.download_bytes(url, MAX_TIMESTAMP_BYTES)
        return Check(name="filter source", state=State.OK, says=f"{config.url} answers")
    return Check(
        name="filter source",
        state=State.MISSING,
        says="no filter repository is configured",
        todo="Ask your service for the address of its filter repository and set III_FILTER_URL, and "
        "III_FILTER_USERNAME and III_FILTER_PASSWORD_FILE if it needs them.",
        without="If your service offers no filter, III_FILTER=none confirms a digest of every picture.",
        exit_code=ExitCode.USAGE,
    )


def _installed_filter(state_dir: Path) -> Check:
    from iii_client.updates import FilterStore

    store = FilterStore(state_dir)
    try:
        release = store.verify()
    except FilterError as error:
        return Check(
            name="filter",
            state=State.MISSING,
            says=str(error),
            todo="Run: iii-client filter update",
            without="Digests and hashes can be computed; no file can be called innocent.",
            exit_code=ExitCode.INCOMPLETE,
        )
    now = datetime.now(UTC)
    state = freshness(release.signed_at, now=now)
    age_s = (now - release.signed_at).total_seconds()
    exact, near = (sum(part.count for part in parts) for parts in (release.sections, release.near))
    hashes = plural(exact + near, "hash")
    says = f"release {release.id}, {state.value}, {signed_ago(age_s)}, {hashes}, bytes verified"
    hold = store.holds.read()
    if hold and not hold.accepted_at:
        return Check(
            name="filter",
            state=State.WARN,
            says=f"{says}; release {hold.release} is held ({hold.because})",
            todo=f"Ask the publisher of the filter about it, then: iii-client filter accept {hold.release}",
            without="Additions since then are not found.",
        )
    if state is Freshness.FRESH:
        # No warning: it is what the practice service has, and only its publisher could change it.
        practice = "For practice: its near segments may hold few hashes, as no real filter's do."
        return Check(
            name="filter", state=State.OK, says=says, without=practice if release.is_practice else ""
        )
    return Check(
        name="filter",
        state=State.WARN if state is Freshness.STALE else State.FAIL,
        says=says,
        todo="Set this machine's clock."
        if age_s < 0
        else "Run: iii-client filter update (and put it into a timer).",
        without="Listed files are still found; an expired filter's silence proves nothing.",
        exit_code=ExitCode.NO_MATCH if state is Freshness.STALE else ExitCode.INCOMPLETE,
    )


def _service(config: ServiceConfig) -> Check:
    from iii_client.service import make_confirmer

    if not config.url:
        return Check(
            name="service",
            state=State.MISSING,
            says="no service is configured",
            todo="Ask the operator of the hash service for access and set III_SERVICE_URL, "
            "III_SERVICE_USERNAME and III_SERVICE_PASSWORD_FILE; set III_SERVICE_PROTOCOL=v1 if it speaks "
            "the older contract.",
            without="Filter hits are found, and held as unconfirmed.",
            exit_code=ExitCode.USAGE,
        )
    report = make_confirmer(config).status()
    parts = [f"{config.url} answers {report.protocol} in {report.elapsed_s * 1000:.0f} ms"]
    parts.append("credentials accepted" if config.username else "no credentials set")
    if report.lists:
        parts.append(f"lists: {', '.join(report.lists)}")
    return Check(name="service", state=State.OK, says="; ".join(parts))


def _http_library() -> Check:
    from importlib.metadata import version

    urllib3 = version("urllib3")
    # urllib3-future installs itself over urllib3 and is known to break other packages.
    shadowed = int(urllib3.split(".")[2]) >= 900
    if shadowed:
        return Check(
            name="http library",
            state=State.WARN,
            says=f"urllib3 {urllib3} is urllib3-future installed over urllib3",
            todo="pip uninstall urllib3-future niquests && pip install --force-reinstall urllib3",
        )
    return Check(name="http library", state=State.OK, says=f"urllib3 {urllib3}")


def _formats() -> Check:
    from PIL import features

    missing = [name for name in ("jpg", "webp", "avif") if not features.check(name)]
    if missing:
        return Check(
            name="formats",
            state=State.WARN,
            says=f"this Pillow cannot decode: {', '.join(missing)}",
            todo="Install Pillow from its official wheels.",
            without="Such pictures are unscannable, never 'no match'.",
        )
    return Check(
        name="formats",
        state=State.OK,
        says="JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF",
        without="HEIC and others are reported as not enabled.",
    )


def _guard(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except IIIError as error:
        return _failed(name, error)


def _failed(name: str, error: IIIError) -> Check:
    code = ExitCode.INCOMPLETE
    if isinstance(error, ConfigurationError):
        code = ExitCode.USAGE
    elif isinstance(error, TrustError):
        code = ExitCode.TRUST_FAILURE
    return Check(name=name, state=State.FAIL, says=str(error), todo=error.hint, exit_code=code)


_STYLE = {State.OK: "green", State.WARN: "yellow", State.MISSING: "bold yellow", State.FAIL: "bold red"}


def _table(checks: list[Check]) -> Table:
    table = Table("", "check", "finding", box=None, pad_edge=False)
    for check in checks:
        lines = [safe_text(check.says)]
        if check.todo:
            lines.append(f"[bold]→ {safe_text(check.todo)}[/]")
        if check.without:
            lines.append(f"[dim]{safe_text(check.without)}[/]")
        table.add_row(f"[{_STYLE[check.state]}]{check.state.value}[/]", check.name, "\n".join(lines))
    return table
