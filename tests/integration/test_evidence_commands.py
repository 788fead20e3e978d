"""From a find to the proof of what was done: the commands of an operator, against the practice service."""

import contextlib
import io
import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from PIL import Image

from iii_client import Config, Updater
from iii_client.cli.app import run
from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, HashValue
from iii_client.sandbox import Sandbox
from iii_client.updates import RecentNegatives


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Site:
    """A hoster's installation, and the service that it asks."""

    service: Sandbox
    env: dict[str, str]
    uploads: Path
    listed: list[Path]

    def __call__(self, *arguments: object, code: int = 0, **env: str) -> Result:
        """Run one command in this process, with this environment alone."""
        out, err = io.StringIO(), io.StringIO()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with (
                patch.dict(os.environ, {**clean, "COLUMNS": "200", **self.env, **env}, clear=True),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                actual = run([str(argument) for argument in arguments])
        finally:
            signal.signal(signal.SIGTERM, handler)
        result = Result(code=actual, out=out.getvalue(), err=err.getvalue())
        assert actual == code, f"{arguments}: {actual}\n{result.out}\n{result.err}"
        assert "Traceback" not in result.out + result.err
        return result

    def scan(self, *arguments: object, code: int = 1) -> dict[str, dict[str, Any]]:
        result = self("scan", "--json", "--jobs", 1, *arguments, self.uploads, code=code)
        return {Path(line["path"]).name: line for line in result.lines}

    def case_of(self, line: dict[str, Any]) -> str:
        (case,) = self("case", "--json", line["encounter_id"]).lines
        return str(case["case_reference"] or case["encounter_id"])


@pytest.fixture(scope="module")
def listed(
    tmp_path_factory: pytest.TempPathFactory, make_pictures: Callable[[Path, int], list[Path]]
) -> list[Path]:
    return make_pictures(tmp_path_factory.mktemp("listed"), 5)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, listed: list[Path]) -> Iterator[Sandbox]:
    with Sandbox.open(tmp_path_factory.mktemp("practice")) as sandbox:
        sandbox.add_pictures(listed, source="list-a", categories=[("interpol-baseline", "1")])
        sandbox.publish()
        sandbox.start()
        yield sandbox


@pytest.fixture
def site(service: Sandbox, listed: list[Path], tmp_path: Path) -> Site:
    """A fresh installation; two listed pictures, a resized one and an innocent one were uploaded."""
    env = {**service.env, "III_STATE_DIR": str(tmp_path / "state"), "III_CONTACT": "abuse@example.org"}
    config = Config.from_env(env)
    Updater(config.filter, config.state_dir).update()
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    for number, path in enumerate(listed[:2]):
        (uploads / f"listed-{number}{path.suffix}").write_bytes(path.read_bytes())
    with Image.open(listed[2]) as picture:
        resized = picture.convert("RGB").resize((picture.width * 9 // 10, picture.height * 9 // 10))
    resized.save(uploads / "resized.jpg", quality=85)
    Image.radial_gradient("L").resize((300, 200)).save(uploads / "innocent.png")
    return Site(service=service, env=env, uploads=uploads, listed=listed)


def test_from_a_find_to_the_proof(site: Site, tmp_path: Path) -> None:
    # Found, and moved out of reach.
    lines = site.scan("--quarantine")
    assert {name: line["action"] for name, line in lines.items()} == {
        "innocent.png": "allow",
        "listed-0.jpg": "block",
        "listed-1.png": "block",
        "resized.jpg": "quarantine",
    }
    assert [path.name for path in site.uploads.iterdir()] == ["innocent.png"]
    held = site("quarantine", "list", "--json").lines
    assert {one["held"] for one in held} == {line["held"] for line in lines.values() if "held" in line}
    assert all("origin" not in one for one in held)
    site("quarantine", "verify")
    # The look-alike waits for a person; the exact ones do not.
    (waiting,) = site("review", "list", "--json", code=3).lines
    assert waiting["waits_for"] == "near_match"
    case = waiting["case_reference"]
    shown = site("case", case).out
    assert "resized" not in shown
    assert "resized" in "".join(site("case", "--names", case).out.split())  # a long path is folded
    # The person says that it is innocent: it goes back to where it was.
    site("review", "decide", case, "--as", "ok", "--operator", "alice", "--note", "our own logo")
    assert (site.uploads / "resized.jpg").exists()
    site("review", "list")
    site("review", "decide", case, "--as", "ok", code=3)
    # An exact one is disputed, reported, kept for the police, and may not be deleted.
    exact = site.case_of(lines["listed-0.jpg"])
    site("dispute", exact, "--reason", "stock_picture", "--note", "ships with our CMS")
    site("report", "sent", exact, "--to", "the hotline", "--at", "1h")
    site("quarantine", "legal-hold", exact, "--on", code=2)
    site("quarantine", "legal-hold", exact, "--on", "--reason", "police 12/26")
    site("quarantine", "purge", exact, "--yes", code=3)
    site("quarantine", "restore", exact, code=3)
    report = json.loads(site("report", "hotline", exact, "--format", "json").out)
    assert report["listed_by"] == ["list-a"]
    assert report["contact"] == "abuse@example.org"
    assert report["done"][0]["what"] == "found in storage"
    assert {"held", "removed", "disputed", "reported"} <= {step["what"] for step in report["done"]}
    # All of it is in the log, and the log is whole.
    site("audit", "head", "--to", tmp_path / "elsewhere")
    (head,) = (tmp_path / "elsewhere").iterdir()
    site("audit", "verify", "--head", head)
    kinds = [entry["kind"] for entry in site("audit", "export").lines]
    assert {"decision", "reviewed", "disputed", "reported", "quarantine_legal_hold"} <= set(kinds)
    with sqlite3.connect(tmp_path / "state" / "state.db") as db:
        db.execute("UPDATE audit SET body = replace(body, 'alice', 'bob')")
    broken = site("audit", "verify", "--head", head, code=4)
    assert "entry" in broken.out
    (said,) = site("audit", "verify", "--json", code=4).lines
    assert said["broken_at"] == kinds.index("reviewed") + 1


def test_no_hash_and_no_name_is_shown_unless_asked_for(site: Site) -> None:
    lines = site.scan("--quarantine")
    case = site.case_of(lines["listed-0.jpg"])
    (with_hashes,) = site("case", "--json", "--hashes", case).lines
    values = [hit["value"] for hit in with_hashes["hits"]] + [with_hashes["sha256"]]
    assert len(values) > 1
    quiet = [
        site("case", case),
        site("case", "--json", case),
        site("quarantine", "list", "--all"),
        site("quarantine", "list", "--json"),
        site("quarantine", "verify"),
        site("review", "list", code=3),
        site("review", "list", "--json", code=3),
        site("review", "overdue", "--unreported", "--json"),
        site("audit", "export"),
        site("audit", "export", "--format", "csv"),
        site("report", "hotline", case),
        site("report", "hotline", case, "--format", "json"),
        site("report", "hotline", case, "--format", "html"),
    ]
    for result in quiet:
        said = result.out + result.err
        assert "listed-0" not in said
        for value in values:
            assert value not in said
    for asked in (
        site("report", "hotline", case, "--hashes"),
        site("audit", "export", "--hashes"),
        site("case", "--hashes", case),
    ):
        assert with_hashes["sha256"] in asked.out


def test_a_withdrawn_hash_gives_back_what_was_held_for_it(site: Site) -> None:
    name = f"stock{site.listed[3].suffix}"
    (site.uploads / name).write_bytes(site.listed[3].read_bytes())
    lines = site.scan("--quarantine")
    assert site("review", "withdrawn", "--json").out == ""
    (case,) = site("case", "--json", "--hashes", lines[name]["encounter_id"]).lines
    for hit in case["hits"]:
        if hit["confirmed"]:
            algorithm = Algorithm(hit["algorithm"])
            site.service.corpus.withdraw(HashValue.from_hex(algorithm, hit["value"]))
    (found,) = site("review", "withdrawn", "--json").lines
    assert (found["encounter_id"], found["said_by"]) == (lines[name]["encounter_id"], "service")
    assert not (site.uploads / name).exists()
    site("review", "withdrawn", "--restore", "--operator", "alice")
    assert (site.uploads / name).exists()
    assert site("review", "withdrawn", "--json").out == ""
    (case,) = site("case", "--json", lines[name]["encounter_id"]).lines
    assert (case["outcome_now"], case["action_now"]) == ("no_match", "allow")


def test_what_was_held_without_an_answer_comes_back_when_the_answer_is_not_listed(site: Site) -> None:
    """Nobody gives an order: the late answer does it all."""
    name = f"late{site.listed[4].suffix}"
    (site.uploads / name).write_bytes(site.listed[4].read_bytes())
    for path in site.uploads.iterdir():
        if path.name != name:
            path.unlink()
    lines = site.scan(code=1)
    (case,) = site("case", "--json", "--hashes", lines[name]["encounter_id"]).lines
    for hit in case["hits"]:
        site.service.corpus.withdraw(HashValue.from_hex(Algorithm(hit["algorithm"]), hit["value"]))
    dead = {"III_SERVICE_URL": "http://127.0.0.1:9", "III_CACHE": "false"}
    held = site("scan", "--json", "--jobs", 1, "--quarantine", site.uploads, code=3, **dead).lines[0]
    assert (held["outcome"], held["action"]) == ("unconfirmed", "quarantine")
    assert not (site.uploads / name).exists()
    site("outbox", "drain", III_CACHE="false")
    assert (site.uploads / name).exists()
    (case,) = site("case", "--json", held["encounter_id"]).lines
    assert [step["kind"] for step in case["follow_ups"]] == ["held", "removed", "late_answer", "restored"]
    assert (case["outcome_now"], case["held"][0]["state"]) == ("no_match", "restored")


def test_a_service_that_is_down_keeps_disputes_and_says_what_could_not_be_asked(site: Site) -> None:
    lines = site.scan()
    case = site.case_of(lines["listed-1.png"])
    dead = {"III_SERVICE_URL": "http://127.0.0.1:9"}
    result = site("dispute", case, code=3, **dead)
    assert "kept, not sent yet" in result.out
    assert "could not be asked" in site("review", "withdrawn", code=3, **dead).err
    assert "the service has 1 message" in site("dispute").out
    assert "no message waits" in site("dispute").out
    assert "no message waits" in site("dispute", III_SERVICE_URL="").out
    # The v1 contract has no feedback: said with what to do instead.
    assert "report hotline" in site("dispute", case, code=2, III_SERVICE_PROTOCOL="v1").err


def test_what_users_can_still_reach_is_overdue_after_a_day(site: Site, tmp_path: Path) -> None:
    shadow = {"III_MODE": "shadow"}
    site("scan", "--jobs", 1, site.uploads, code=1, **shadow)
    found = site("review", "overdue", "--json").lines
    assert len(found) == 3
    assert not any(line["overdue"] for line in found)
    with sqlite3.connect(tmp_path / "state" / "state.db") as db:
        db.execute("UPDATE encounter SET at = '2026-01-01T00:00:00.000+00:00'")
    assert all(line["overdue"] for line in site("review", "overdue", "--json", code=3).lines)
    for line in found:
        site("report", "removed", line["encounter_id"], "--at", "2h", "--operator", "alice")
    assert site("review", "overdue", "--json").out == ""
    assert len(site("review", "overdue", "--unreported", "--json").lines) == 3
    # All settled now, except the look-alike that a person must look at.
    shown = site("data", "purge", "--dry-run", "--json").lines[0]
    assert (shown["deleted"], shown["kept"]) == (2, {"waits_for_a_person": 1})
    site("data", "purge")
    assert len(site("review", "overdue", "--unreported", "--json").lines) == 1


def test_the_recent_negatives_are_forgotten_with_the_rest(site: Site, tmp_path: Path) -> None:
    """They are digests of innocent uploads, and so personal data."""
    site.scan()
    kept = RecentNegatives(tmp_path / "state")
    assert kept.load()
    site("data", "purge", "--older-than", "1d")
    assert kept.load(), "seen today"
    site("data", "purge", "--uploader", "alice", "--dry-run")
    assert kept.load()
    site("data", "purge", "--uploader", "alice")
    assert kept.load() == ()


def test_a_hotline_page_runs_nothing_whatever_a_list_is_called(site: Site, tmp_path: Path) -> None:
    lines = site.scan()
    encounter_id = lines["listed-0.jpg"]["encounter_id"]
    evil = json.dumps(["<script>alert(1)</script>\x1b[31m\n"])
    with sqlite3.connect(tmp_path / "state" / "state.db") as db:
        db.execute("UPDATE encounter_hit SET sources = ? WHERE encounter_id = ?", (evil, encounter_id))
    page = site("report", "hotline", encounter_id, "--format", "html").out
    assert "<script" not in page
    assert "<img" not in page
    assert "default-src 'none'" in page
    for form in ("text", "html"):
        assert "\x1b" not in site("report", "hotline", encounter_id, "--format", form).out
    assert "\x1b" not in site("case", encounter_id).out
    site("report", "hotline", encounter_id, "--out", tmp_path / "report.txt")
    assert (tmp_path / "report.txt").stat().st_mode & 0o777 == 0o600
    site("report", "hotline", encounter_id, "--out", tmp_path / "report.txt", code=3)


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (("case", "7K3M-Q2WF-9XTA"), 3, "keep_days"),
        (("quarantine", "restore", "nothing"), 3, "quarantine list"),
        (("quarantine", "hold", "FILE", "--case", "nothing"), 3, "case reference"),
        (("quarantine", "purge"), 2, "--due"),
        (("review", "decide", "x", "--as", "maybe"), 2, "Try"),
        (("audit", "verify", "--head", "/nowhere/head"), 3, "no such file"),
        (("audit", "verify", "--head", " "), 2, "unset"),
        (("audit", "export", "--since", "yesterday"), 2, "2026-11-24"),
        (("data", "purge", "--older-than", "-1"), 2, "30d"),
        (("report", "sent", "x"), 2, "--to"),
        (("dispute", "x", "--operator", "a", "--second", "A"), 2, "--second"),
    ],
)
def test_mistakes_are_said_with_what_to_do(
    site: Site, tmp_path: Path, arguments: tuple[str, ...], code: int, hint: str
) -> None:
    (tmp_path / "FILE").write_bytes(b"x")
    named = [str(tmp_path / "FILE") if argument == "FILE" else argument for argument in arguments]
    assert hint in site(*named, code=code).err


def test_a_link_is_not_mistaken_for_its_file(site: Site, tmp_path: Path) -> None:
    lines = site.scan()
    link = tmp_path / "link"
    link.symlink_to(site.uploads / "listed-0.jpg")
    site("quarantine", "hold", link, "--case", lines["listed-0.jpg"]["encounter_id"], code=2)
    site("quarantine", "hold", site.uploads / "listed-0.jpg", "--case", lines["listed-0.jpg"]["encounter_id"])
    assert not (site.uploads / "listed-0.jpg").exists()


def test_a_link_out_of_the_uploads_moves_nobodys_file(site: Site, tmp_path: Path) -> None:
    outside = tmp_path / f"bundled{site.listed[0].suffix}"
    outside.write_bytes(site.listed[0].read_bytes())
    (site.uploads / "innocent-looking.jpg").symlink_to(outside)
    result = site("scan", "--quarantine", "--jobs", 1, site.uploads, code=1)
    assert "leads out" in result.err
    assert "1 file could not be moved" in result.out
    assert outside.exists()


def test_no_mode_is_needed_to_look_at_the_records(site: Site) -> None:
    env = {name: value for name, value in site.env.items() if name != "III_MODE"}
    with pytest.raises(ConfigurationError):
        Config.from_env(env)
    bare = replace(site, env=env)
    bare("quarantine", "list")
    bare("audit", "verify")
