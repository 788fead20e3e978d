"""Publish, serve, update, look up: over real HTTP, with everything that may go wrong on the way."""

import dataclasses
import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
from tuf.api.metadata import TargetFile

from iii_client import errors
from iii_client.config import Secret
from iii_client.errors import IIIError
from iii_client.filters import pack_bundle
from iii_client.filters.bundle import BloomHeader
from iii_client.model import NO_RELEASE, Freshness, ReleaseId
from iii_client.publisher import build
from iii_client.publisher.keys import KeyStore
from iii_client.publisher.roles import Roles
from iii_client.updates import Updater
from iii_client.updates.signed_base import SignedBase

from .conftest import Chain, ChainMaker, Fault, Handler, listed, trickle


def fails_and_keeps_the_filter(chain: Chain, kind: type[IIIError], *words: str) -> IIIError:
    """The update raises exactly this kind, with a hint, and what was installed still answers."""
    installed = chain.updater.store.installed() if (chain.state_dir / "filter" / "current").exists() else None
    with pytest.raises(kind) as caught:
        chain.updater.update()
    error = caught.value
    assert type(error) is kind
    text = f"{error} {error.hint}"
    assert len(error.hint) > 20
    for word in words:
        assert word in text
    for secret in ("127.0.0.1", "correct horse", str(chain.folder)):
        assert secret not in text
    if installed:
        assert chain.updater.store.verify() == installed
        assert chain.finds("a", "c") == [True, False]
    else:
        with pytest.raises(errors.NoFilterError):
            chain.updater.store.installed()
    return error


# --- what should happen ---------------------------------------------------------------------------------


def test_a_fresh_client_gets_the_filter_and_finds_what_is_listed(chain: Chain) -> None:
    report = chain.updater.update()
    assert report.release == ReleaseId(epoch=1, sequence=0)
    assert (report.previous, report.changed) == (NO_RELEASE, True)
    assert report.bytes_fetched == chain.server.bytes_sent - len(b"not here")
    assert chain.finds("a", "b", "c") == [True, True, False]
    snapshot = chain.live().current()
    assert snapshot.release == report.release
    assert snapshot.freshness is Freshness.FRESH
    assert report.clock_skew_s is not None
    assert abs(report.clock_skew_s) < 5


def test_nothing_new_costs_two_requests_and_changes_nothing(chain: Chain) -> None:
    chain.updater.update()
    chain.server.requests.clear()
    report = chain.updater.update()
    assert (report.changed, report.previous) == (False, report.release)
    assert chain.server.requests == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_a_new_release_is_found_by_a_reader_that_never_restarts(chain: Chain) -> None:
    chain.updater.update()
    live = chain.live()
    old = live.current()
    assert live.current() is old
    chain.publish("a", "b", "c")
    assert chain.updater.update().release == ReleaseId(epoch=2, sequence=0)
    assert live.current().release == ReleaseId(epoch=2, sequence=0)
    assert chain.finds("c") == [True]
    assert old.release == ReleaseId(epoch=1, sequence=0)


def test_signing_anew_makes_the_installed_filter_fresh_again(make_chain: ChainMaker) -> None:
    chain = make_chain(clock_shift=timedelta(days=-3))
    chain.publish("a")
    chain.updater.update()
    live = chain.live()
    assert live.current().freshness is Freshness.STALE
    chain.repository._clock = lambda: datetime.now(UTC)  # three days later, the timer runs again
    chain.repository.refresh()
    assert not chain.updater.update().changed
    assert live.current().freshness is Freshness.FRESH


def test_a_rotated_root_is_followed_from_the_pinned_one(make_chain: ChainMaker) -> None:
    chain = make_chain(clock_shift=timedelta(days=-520))
    chain.repository._clock = lambda: datetime.now(UTC)
    chain.publish("a")
    chain.repository.refresh()
    assert (chain.repository.public_dir / "metadata" / "2.root.json").exists()
    assert chain.updater.update().changed
    # The newer root may be pinned instead: it belongs to the same repository.
    chain.root.write_bytes((chain.repository.public_dir / "metadata" / "2.root.json").read_bytes())
    assert not chain.updater.update().changed


def test_credentials_are_sent(chain: Chain) -> None:
    chain.updater.update()
    assert set(chain.server.authorizations) == {"Basic aG9zdGVyOmNvcnJlY3QgaG9yc2U="}


def test_no_cookie_is_kept(chain: Chain) -> None:
    cookies = []

    def with_cookie(handler: Handler) -> bool:
        cookies.append(handler.headers.get("Cookie"))
        handler.answer(404, b"", {"Set-Cookie": "host=tracked"})
        return True

    chain.server.fault = with_cookie
    for _ in range(2):
        fails_and_keeps_the_filter(chain, errors.ServiceError, "404")
    assert len(cookies) > 2
    assert set(cookies) == {None}


def test_credentials_may_be_any_text(chain: Chain) -> None:
    chain.config = dataclasses.replace(chain.config, username="jürgen", password=Secret("5 €"))
    chain.updater.update()
    assert set(chain.server.authorizations) == {"Basic asO8cmdlbjo1IOKCrA=="}


def test_the_state_is_private_to_its_owner(chain: Chain) -> None:
    old = os.umask(0)
    try:
        chain.updater.update()
    finally:
        os.umask(old)
    for path in (chain.state_dir / "filter").rglob("*"):
        if path.is_symlink() or path.parent.name == "root_history" or path.name == "root_history":
            continue  # public keys, written by TUF itself, in a folder that is closed
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path.name


def test_only_previous_releases_stay_on_disk(chain: Chain) -> None:
    for number in range(5):
        chain.publish("a", f"more {number}")
        chain.updater.update()
    names = sorted(path.name[:3] for path in (chain.state_dir / "filter" / "releases").glob("*.bundle"))
    assert names == ["4.0", "5.0", "6.0"]
    assert list((chain.state_dir / "filter" / "downloads").iterdir()) == []


def test_processes_that_update_at_once_take_turns(chain: Chain) -> None:
    code = (
        "import sys; from pathlib import Path; from iii_client.config import FilterConfig;"
        "from iii_client.updates import Updater;"
        "u = Updater(FilterConfig(url=sys.argv[1], root=sys.argv[2]), Path(sys.argv[3]));"
        "[print(u.update().changed) for _ in range(5)]"
    )
    command = [sys.executable, "-c", code, chain.server.url, str(chain.root), str(chain.state_dir)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate()[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sum(output.count("True") for output in outputs) == 1
    assert sum(output.count("False") for output in outputs) == 14


# --- an interrupted download ----------------------------------------------------------------------------


def cut_after(count: int) -> Fault:
    """The connection breaks after `count` bytes of the bundle."""

    def fault(handler: Handler) -> bool:
        if not handler.path.startswith("/targets/") or handler.headers.get("Range"):
            return False
        content = Path(handler.translate_path(handler.path)).read_bytes()
        handler.answer(200, content[:count], declared=len(content))
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return True

    return fault


def test_a_broken_download_goes_on_where_it_broke(chain: Chain) -> None:
    chain.server.fault = cut_after(200_000)
    fails_and_keeps_the_filter(chain, errors.ConnectError)
    chain.server.fault = None
    chain.server.bytes_sent = 0
    report = chain.updater.update()
    size = chain.updater.store.installed().size_bytes
    assert report.changed
    assert size - 200_000 <= report.bytes_fetched < size - 200_000 + 5_000


def test_a_server_without_ranges_starts_the_download_anew(chain: Chain) -> None:
    chain.server.fault = cut_after(200_000)
    fails_and_keeps_the_filter(chain, errors.ConnectError)
    chain.server.fault = None
    chain.server.ranges = False
    assert chain.updater.update().changed
    assert chain.finds("a", "c") == [True, False]


def test_a_damaged_partial_download_is_thrown_away_and_accuses_nobody(chain: Chain) -> None:
    chain.server.fault = cut_after(200_000)
    fails_and_keeps_the_filter(chain, errors.ConnectError)
    (part,) = (chain.state_dir / "filter" / "downloads").iterdir()
    part.write_bytes(bytes(200_000))
    chain.server.fault = None
    assert chain.updater.update().changed


def test_a_partial_download_that_is_too_long_is_thrown_away(chain: Chain) -> None:
    chain.server.fault = cut_after(200_000)
    fails_and_keeps_the_filter(chain, errors.ConnectError)
    (part,) = (chain.state_dir / "filter" / "downloads").iterdir()
    part.write_bytes(bytes(2_000_000))
    chain.server.fault = None
    assert chain.updater.update().changed


# --- faults of the server and the way to it -------------------------------------------------------------


def on(start: str, status: int, body: bytes, headers: dict[str, str] | None = None) -> Fault:
    def fault(handler: Handler) -> bool:
        if handler.path.startswith(start):
            handler.answer(status, body, headers)
        return handler.path.startswith(start)

    return fault


def endless(handler: Handler) -> bool:
    if "timestamp" not in handler.path and not handler.path.startswith("/targets/"):
        return False
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"{" * 65536)


def zeros(handler: Handler) -> bool:
    if handler.path.startswith("/targets/"):
        handler.answer(200, bytes(Path(handler.translate_path(handler.path)).stat().st_size))
    return handler.path.startswith("/targets/")


def gzip(handler: Handler) -> bool:
    handler.answer(200, b"\x1f\x8b", {"Content-Encoding": "gzip"})
    return True


def redirect(to: str) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.answer(302, b"", {"Location": to})
        return True

    return fault


def endless_redirect(handler: Handler) -> bool:
    handler.send_response(302)
    handler.send_header("Location", "/round")
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(65536))


def hang_up(handler: Handler) -> bool:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


HTML = b"<html><body>Please log in</body></html>"

SERVER_FAULTS: dict[str, tuple[Fault, type[IIIError], str]] = {
    "wrong credentials": (on("/", 401, b""), errors.AuthenticationError, "III_FILTER_USERNAME"),
    "revoked access": (on("/", 403, b""), errors.AuthenticationError, "revoked"),
    "access to the bundle refused": (on("/targets/", 403, b""), errors.AuthenticationError, "revoked"),
    "another address": (on("/", 404, b""), errors.ServiceError, "III_FILTER_URL"),
    "a bundle that is missing": (on("/targets/", 404, b""), errors.ServiceError, "404"),
    "a broken server": (on("/", 500, b""), errors.ServiceError, "500"),
    "a busy server": (on("/", 503, b"", {"Retry-After": "7"}), errors.RateLimitedError, "503"),
    "too many requests": (on("/", 429, b""), errors.RateLimitedError, "429"),
    "a login page for everything": (on("/", 200, HTML), errors.WireFormatError, "login page"),
    "a login page for the timestamp": (
        on("/metadata/timestamp", 200, HTML),
        errors.WireFormatError,
        "not TUF metadata",
    ),
    "a login page for the bundle": (on("/targets/", 200, HTML), errors.LengthOrHashError, "signed bytes"),
    "wrong bytes of the right length": (zeros, errors.LengthOrHashError, "signed bytes"),
    "an endless body": (endless, errors.ResponseTooLargeError, "at most"),
    "an endless bundle": (
        lambda h: endless(h) if h.path.startswith("/targets/") else False,
        errors.ResponseTooLargeError,
        "at most",
    ),
    "a bundle declared too long": (
        on("/targets/", 200, bytes(5_000_000)),
        errors.ResponseTooLargeError,
        "5000000",
    ),
    "content that is compressed": (gzip, errors.WireFormatError, "compression"),
    "a redirect to another host": (redirect("https://example.org/"), errors.ServiceError, "another host"),
    "a redirect with an endless body": (endless_redirect, errors.ServiceError, "more than 3 times"),
    "a redirect to nowhere": (redirect("http://["), errors.ServiceError, "another host"),
    "a redirect to another port": (redirect("//127.0.0.1:1/"), errors.ServiceError, "another host"),
    "a redirect in a circle": (redirect("/round"), errors.ServiceError, "more than 3 times"),
    "a connection that breaks at once": (hang_up, errors.ConnectError, "III_FILTER_URL"),
    "an answer that is not HTTP": (
        lambda h: bool(h.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")) and hang_up(h),
        errors.ConnectError,
        "III_FILTER_URL",
    ),
}


@pytest.mark.parametrize("fault", SERVER_FAULTS)
@pytest.mark.parametrize("installed", [False, True], ids=["at first", "later"])
def test_a_fault_of_the_server_is_named_and_changes_nothing(
    chain: Chain, fault: str, installed: bool
) -> None:
    if installed:
        chain.updater.update()
        chain.publish("a", "b", "c")
    chain.server.fault, kind, word = SERVER_FAULTS[fault]
    fails_and_keeps_the_filter(chain, kind, word)
    chain.server.fault = None
    assert chain.updater.update().changed


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_how_long_to_wait(chain: Chain, status: int) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=77), usegmt=True)
    for text, least, most in (
        ("77", 77, 77),
        (until, 60, 77),
        ("soon", 900, 900),
        ("9" * 20, 86_400, 86_400),
    ):
        chain.server.fault = on("/", status, b"", {"Retry-After": text})
        with pytest.raises(errors.RateLimitedError) as caught:
            chain.updater.update()
        assert least <= caught.value.retry_after_s <= most


def test_a_trickling_server_is_cut_off_at_the_deadline(chain: Chain) -> None:
    chain.server.fault = trickle
    with pytest.raises(errors.ServiceTimeoutError) as caught:
        Updater(chain.config, chain.state_dir, deadline_s=0.3).update()
    assert caught.value.retryable


def test_a_server_that_trickles_its_headers_is_cut_off_at_the_deadline(chain: Chain) -> None:
    def trickle_headers(handler: Handler) -> bool:
        while True:
            handler.wfile.write(b"H")
            time.sleep(0.02)

    chain.server.fault = trickle_headers
    started = time.monotonic()
    with pytest.raises(errors.ServiceTimeoutError):
        Updater(chain.config, chain.state_dir, deadline_s=0.3).update()
    assert time.monotonic() - started < 5


def test_a_silent_server_is_cut_off_at_the_deadline(chain: Chain) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = dataclasses.replace(chain.config, url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(errors.ServiceTimeoutError):
            Updater(config, chain.state_dir, deadline_s=0.3).update()


def test_a_dead_server_is_a_connect_error(chain: Chain) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    chain.config = dataclasses.replace(chain.config, url=f"http://127.0.0.1:{port}")
    error = fails_and_keeps_the_filter(chain, errors.ConnectError, "III_FILTER_URL")
    assert error.retryable


def test_a_server_without_tls_behind_https_is_a_connect_error(chain: Chain) -> None:
    chain.config = dataclasses.replace(chain.config, url=chain.server.url.replace("http:", "https:"))
    fails_and_keeps_the_filter(chain, errors.ConnectError, "TLS")


def test_a_redirect_within_the_repository_is_followed(chain: Chain) -> None:
    metadata = chain.repository.public_dir / "metadata"
    (metadata / "timestamp.json").rename(metadata / "here.json")
    to_here = redirect("/metadata/here.json")
    chain.server.fault = lambda h: to_here(h) if h.path == "/metadata/timestamp.json" else False
    assert chain.updater.update().changed


def test_the_environments_proxy_is_used(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", chain.server.url)
    chain.config = dataclasses.replace(chain.config, url="http://filters.invalid")
    chain.server.fault = on("http://filters.invalid/", 401, b"")
    fails_and_keeps_the_filter(chain, errors.AuthenticationError)
    assert chain.server.requests[0].startswith("http://filters.invalid/metadata/")


# --- attacks --------------------------------------------------------------------------------------------


def test_metadata_of_another_root_is_refused(chain: Chain, make_chain: ChainMaker) -> None:
    other = make_chain("other")
    other.publish("x")
    chain.updater.update()
    chain.config = dataclasses.replace(chain.config, url=other.server.url)
    fails_and_keeps_the_filter(chain, errors.SignatureError, "III_FILTER_ROOT")


def test_a_wrong_root_is_refused_and_can_be_corrected(chain: Chain, make_chain: ChainMaker) -> None:
    other = make_chain("other")
    right = chain.root.read_bytes()
    chain.root.write_bytes(other.root.read_bytes())
    fails_and_keeps_the_filter(chain, errors.SignatureError, "III_FILTER_ROOT")
    chain.root.write_bytes(right)
    assert chain.updater.update().changed


def test_a_state_directory_is_never_shared_by_two_roots(chain: Chain, make_chain: ChainMaker) -> None:
    chain.updater.update()
    other = make_chain("other")
    other.publish("x")
    other.state_dir = chain.state_dir
    with pytest.raises(errors.ConfigurationError, match="another trust root") as caught:
        other.updater.update()
    assert "III_STATE_DIR" in caught.value.hint
    assert chain.finds("a", "x") == [True, False]
    assert not chain.updater.update().changed


def test_old_metadata_played_back_is_a_rollback(chain: Chain, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(chain.repository.public_dir, old)
    chain.publish("a", "b", "d")
    chain.updater.update()
    public = chain.repository.public_dir
    shutil.rmtree(public)
    shutil.copytree(old, public)
    fails_and_keeps_the_filter(chain, errors.RollbackError, "older metadata")


def test_an_older_base_is_refused_even_when_the_metadata_was_lost(chain: Chain, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(chain.repository.public_dir, old)
    chain.publish("a", "b", "d")
    chain.updater.update()
    shutil.rmtree(chain.state_dir / "filter" / "metadata")
    public = chain.repository.public_dir
    shutil.rmtree(public)
    shutil.copytree(old, public)
    fails_and_keeps_the_filter(chain, errors.RollbackError, "release 1.0", "2.0")


def test_a_base_below_the_least_epoch_is_refused_by_a_fresh_client(chain: Chain) -> None:
    chain.config = dataclasses.replace(chain.config, min_epoch=2)
    fails_and_keeps_the_filter(chain, errors.RollbackError, "epoch 1", "III_FILTER_MIN_EPOCH")
    chain.publish("a", "b", "d")
    assert chain.updater.update().release.epoch == 2


def test_a_frozen_repository_is_stale_and_the_filter_stays(make_chain: ChainMaker) -> None:
    chain = make_chain(clock_shift=timedelta(days=-8))
    chain.publish("a")
    error = fails_and_keeps_the_filter(chain, errors.StaleMetadataError, "expired")
    assert error.retryable
    assert "clock" not in str(error)


def test_a_clock_that_runs_ahead_is_named_with_its_skew(make_chain: ChainMaker) -> None:
    chain = make_chain(clock_shift=timedelta(days=-8))
    chain.server.date_shift = timedelta(days=-8)
    chain.publish("a")
    fails_and_keeps_the_filter(chain, errors.StaleMetadataError, "192.0 h ahead of the server's", "NTP")


def test_a_clock_that_is_behind_is_named_with_its_skew(make_chain: ChainMaker) -> None:
    chain = make_chain(clock_shift=timedelta(days=1))
    chain.publish("a")
    fails_and_keeps_the_filter(chain, errors.StaleMetadataError, "24.0 h in the future", "NTP")


def test_metadata_of_two_states_is_never_mixed(chain: Chain) -> None:
    folder = chain.repository.public_dir / "metadata"
    shutil.copy(folder / "1.snapshot.json", folder / "2.snapshot.json")
    fails_and_keeps_the_filter(chain, errors.LengthOrHashError)


def test_a_signed_timestamp_with_a_changed_word_is_refused(chain: Chain) -> None:
    path = chain.repository.public_dir / "metadata" / "timestamp.json"
    tree = json.loads(path.read_bytes())
    tree["signed"]["version"] += 1
    path.write_text(json.dumps(tree))
    fails_and_keeps_the_filter(chain, errors.SignatureError)


# --- gates: signed, but implausible ---------------------------------------------------------------------


def publish_signed(
    chain: Chain, content: bytes, changes: dict[str, object] | None = None, *, epoch: int = 2
) -> None:
    """Publish these bytes as a base, truly signed, with a description of the publisher's choice."""
    metadata_dir = chain.repository.public_dir / "metadata"
    roles = Roles.load(metadata_dir, KeyStore(chain.folder / "keys"), lambda: datetime.now(UTC))
    (present,) = roles.targets.values()
    described = SignedBase.from_custom(present.unrecognized_fields["custom"])
    sha256 = hashlib.sha256(content).hexdigest()
    base = dataclasses.replace(described, release=ReleaseId(epoch=epoch, sequence=0), sha256=sha256)
    path = f"base/{epoch}/filter.bin"
    file = chain.repository.public_dir / "targets" / "base" / str(epoch) / f"{sha256}.filter.bin"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    custom = {"custom": base.to_custom() | (changes or {})}
    roles.publish({path: TargetFile(len(content), {"sha256": sha256}, path, custom)})


SECOND = ReleaseId(epoch=2, sequence=0)


def good_sections() -> tuple[tuple[str, bytes], ...]:
    return build.build_sections([listed("a"), listed("b")])


def without_canaries() -> tuple[tuple[str, bytes], ...]:
    """The same sections by name, size and count, but all bits are 0: everything would pass."""
    return tuple((name, content[:40] + bytes(len(content) - 40)) for name, content in good_sections())


def overfull(fill: float) -> tuple[tuple[str, bytes], ...]:
    """The same sections by name, size and count, with so many bits set that too much of anything hits."""
    random = np.random.default_rng(1)
    sections = []
    for name, content in good_sections():
        header = BloomHeader.parse(content)
        bits = np.unpackbits(np.frombuffer(content, np.uint8, offset=40), bitorder="little")
        used = header.slices * header.bits_per_slice
        bits[:used] |= random.random(used) < fill
        sections.append((name, content[:40] + np.packbits(bits, bitorder="little").tobytes()))
    return tuple(sections)


IMPLAUSIBLE: dict[str, tuple[bytes, dict[str, object], str]] = {
    "an empty filter": (pack_bundle(SECOND, without_canaries()), {}, "misses 3 of 3"),
    "no filter at all": (b"#!/bin/sh\n", {}, "no filter"),
    "another epoch inside": (
        pack_bundle(ReleaseId(epoch=9, sequence=0), good_sections()),
        {},
        "holds release 9.0",
    ),
    "a section too few": (pack_bundle(SECOND, good_sections()[1:]), {}, "not the ones described"),
    "no canaries": (pack_bundle(SECOND, good_sections()), {"canaries": []}, "malformed"),
    "no description": (pack_bundle(SECOND, good_sections()), {"sections": None}, "malformed"),
    "a filter of ones": (pack_bundle(SECOND, overfull(1.0)), {}, "filled to 1.000"),
    "an overfull filter": (pack_bundle(SECOND, overfull(0.55)), {}, "filled to 0.55"),
    "an overfull filter that is called good": (
        pack_bundle(SECOND, overfull(0.55)),
        {"max_fill_permille": 1000},
        "at most 0.520",
    ),
    "a fuller filter than the publisher wants": (
        pack_bundle(SECOND, overfull(0.45)),
        {"max_fill_permille": 440},
        "at most 0.440",
    ),
    "another digest described": (
        pack_bundle(SECOND, good_sections()),
        {"sha256": "0" * 64},
        "contradicts",
    ),
    "another epoch described": (pack_bundle(SECOND, good_sections()), {"epoch": 7}, "contradicts"),
}


@pytest.mark.parametrize("case", IMPLAUSIBLE)
def test_a_signed_release_that_is_implausible_is_not_installed(chain: Chain, case: str) -> None:
    chain.updater.update()
    content, changes, words = IMPLAUSIBLE[case]
    publish_signed(chain, content, changes)
    fails_and_keeps_the_filter(chain, errors.GateError, words)
    assert list((chain.state_dir / "filter" / "downloads").iterdir()) == []


def test_other_bytes_under_the_name_of_an_installed_release_are_refused(chain: Chain) -> None:
    """Caches and stored checks are keyed by the release: it must mean one thing for ever."""
    chain.updater.update()
    other = build.build_bundle([listed("a"), listed("c")], release=ReleaseId(epoch=1, sequence=0))
    publish_signed(chain, other, epoch=1)
    fails_and_keeps_the_filter(chain, errors.GateError, "other bytes as release 1.0")


def test_the_same_bytes_well_described_are_installed(chain: Chain) -> None:
    chain.updater.update()
    publish_signed(chain, pack_bundle(SECOND, good_sections()))
    assert chain.updater.update().release == SECOND


def test_a_filter_that_is_full_as_designed_is_installed(chain: Chain) -> None:
    chain.updater.update()
    publish_signed(chain, pack_bundle(SECOND, overfull(0.5)))
    assert chain.updater.update().release == SECOND


def test_a_later_bundle_version_says_to_update_the_client(chain: Chain) -> None:
    content = bytearray(pack_bundle(SECOND, good_sections()))
    content[8] = 2
    chain.updater.update()
    publish_signed(chain, bytes(content))
    fails_and_keeps_the_filter(chain, errors.GateError, "version 2", "Update iii-client")


# --- the hoster's settings and disk ---------------------------------------------------------------------


def test_missing_and_wrong_settings_are_named(chain: Chain, tmp_path: Path) -> None:
    good = chain.config
    (tmp_path / "page.html").write_bytes(HTML)
    (tmp_path / "huge.json").write_bytes(bytes(600_000))
    timestamp = chain.repository.public_dir / "metadata" / "timestamp.json"
    for changes, words in (
        ({"url": ""}, "III_FILTER_URL"),
        ({"root": ""}, "III_FILTER_ROOT"),
        ({"root": str(tmp_path / "nothing.json")}, "III_FILTER_ROOT"),
        ({"root": str(tmp_path)}, "III_FILTER_ROOT"),
        ({"root": str(tmp_path / "page.html")}, "III_FILTER_ROOT"),
        ({"root": str(tmp_path / "huge.json")}, "III_FILTER_ROOT"),
        ({"root": str(timestamp)}, "III_FILTER_ROOT"),
        ({"url": "http://"}, "III_FILTER_URL"),
        ({"url": "http://[::1"}, "III_FILTER_URL"),
    ):
        chain.config = dataclasses.replace(good, **changes)  # type: ignore[arg-type]
        fails_and_keeps_the_filter(chain, errors.ConfigurationError, words)


def test_a_repository_without_a_release_says_so(make_chain: ChainMaker) -> None:
    fails_and_keeps_the_filter(make_chain(), errors.NoFilterError, "published no filter yet")


def test_a_state_directory_that_cannot_be_written_is_named(chain: Chain) -> None:
    chain.state_dir.write_text("a file where the directory should be")
    with pytest.raises(errors.FilterError) as caught:
        chain.updater.update()
    assert type(caught.value) is errors.FilterError
    assert "III_STATE_DIR" in caught.value.hint


def test_damaged_bytes_on_disk_are_seen_and_repaired(chain: Chain) -> None:
    chain.updater.update()
    (file,) = (chain.state_dir / "filter" / "releases").glob("*.bundle")
    content = bytearray(file.read_bytes())
    content[70_000] ^= 1
    file.write_bytes(content)
    with pytest.raises(errors.LengthOrHashError):
        chain.updater.store.verify()
    live = chain.live()
    old = live.current()
    assert chain.updater.update().changed
    assert chain.updater.store.verify().id == ReleaseId(epoch=1, sequence=0)
    assert live.current() is not old


def test_a_filter_whose_bits_are_lost_is_refused_at_opening_and_repaired(chain: Chain) -> None:
    chain.updater.update()
    (file,) = (chain.state_dir / "filter" / "releases").glob("*.bundle")
    file.write_bytes(pack_bundle(ReleaseId(epoch=1, sequence=0), without_canaries()))
    with pytest.raises(errors.FilterFormatError, match="misses 3 of 3"):
        chain.live().current()
    assert chain.updater.update().changed
    assert chain.finds("a", "b", "c") == [True, True, False]


def test_an_update_gives_canaries_to_a_pointer_that_has_none(chain: Chain) -> None:
    chain.updater.update()
    pointer = chain.state_dir / "filter" / "current"
    tree = json.loads(pointer.read_text())
    assert len(tree.pop("canaries")) == 3
    pointer.write_text(json.dumps(tree))
    assert not chain.updater.update().changed
    assert len(chain.updater.store.installed().canaries) == 3


def test_a_missing_release_file_is_repaired(chain: Chain) -> None:
    chain.updater.update()
    (file,) = (chain.state_dir / "filter" / "releases").glob("*.bundle")
    file.unlink()
    with pytest.raises(errors.NoFilterError, match="missing"):
        chain.updater.store.snapshot()
    with pytest.raises(errors.NoFilterError):
        chain.updater.store.verify()
    assert chain.updater.update().changed
    assert chain.finds("a") == [True]


def test_damaged_trusted_metadata_is_fetched_anew(chain: Chain) -> None:
    chain.updater.update()
    for name in ("timestamp.json", "snapshot.json", "targets.json", "root_history/1.root.json"):
        (chain.state_dir / "filter" / "metadata" / name).write_bytes(b"")
    assert not chain.updater.update().changed


def test_a_password_never_shows(chain: Chain) -> None:
    chain.config = dataclasses.replace(chain.config, password=Secret("very secret"))
    assert "very secret" not in repr(Updater(chain.config, chain.state_dir)) + repr(chain.config)
