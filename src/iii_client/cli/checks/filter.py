"""The trust root, the repository, and the installed filter."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from iii_client.cli.checks.finding import Check, State, guarded
from iii_client.cli.exits import ExitCode
from iii_client.cli.render import plural, signed_ago
from iii_client.config import FilterConfig
from iii_client.errors import FilterError
from iii_client.model import Freshness, freshness

#: A person is waiting, and a first connection may be slow.
REACH_TIMEOUT_S = 10.0
MAX_TIMESTAMP_BYTES = 16 << 10


def filter_checks(config: FilterConfig, state_dir: Path) -> list[Check]:
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
        guarded("trust root", lambda: _trust_root(config, state_dir)),
        guarded("filter source", lambda: _filter_source(config)),
        guarded("filter", lambda: _installed_filter(state_dir)),
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
