"""`iii-client publish …` as an operator runs it: the ceremony, the day, the mistake, the night."""

import contextlib
import csv
import hashlib
import io
import json
import random
import stat
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from iii_client.cli.app import run
from iii_client.config import FilterConfig
from iii_client.updates import Updater

HEADER = "algorithm,value,quality,list,source,scheme,code,item\n"


@dataclass(frozen=True)
class Done:
    stdout: str
    stderr: str


class Shell:
    """Runs the command on one publisher's folder, in this process: a start of Python takes a second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, code: int = 0) -> Done:
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), redirect_stdout(stdout), redirect_stderr(stderr):
            returned = run(["publish", *arguments])
        done = Done(stdout.getvalue(), stderr.getvalue())
        assert returned == code, done
        return done

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self(*arguments, "--json", code=code).stdout)
        return result

    def write(self, name: str, *names: str, algorithm: str = "md5") -> str:
        rows = [
            f"{algorithm},{hashlib.new(algorithm, one.encode()).hexdigest()},100,list,body,s,1,{one}\n"
            for one in names
        ]
        (self.folder / name).write_text(HEADER + "".join(rows))
        return name


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("III_PUBLISH_DIR", str(tmp_path / "pub"))
    monkeypatch.setenv("COLUMNS", "200")
    return Shell(tmp_path)


@pytest.fixture
def published(shell: Shell) -> Shell:
    shell("init", "--offline", "stick-a", "--offline", "stick-b")
    shell("add", shell.write("first.csv", *"abcdefghijk"), "--kind", "child-abuse")
    shell("release", "--offline", "stick-a")
    return shell


def test_a_publisher_from_the_ceremony_to_a_hoster(
    published: Shell, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    shell = published
    shell("add", shell.write("second.csv", "l", "m"))
    report = shell.json("release")
    assert (report["release"], report["kind"], report["added"]) == ("1.1", "deltas", 2)
    root = tmp_path / "pub/repository/public/metadata/1.root.json"
    config = FilterConfig(url=serve(tmp_path / "pub/repository/public"), root=str(root))
    updater = Updater(config, tmp_path / "client")
    assert str(updater.update().release) == "1.1"
    status = shell.json("status", "--offline", "stick-a")
    assert status["release"] == "1.1"
    assert status["visible"] is True
    (row,) = status["lists"]
    assert (row["name"], row["kind"], row["entries"]) == ("list", "child-abuse", 13)
    keys = {key["here"] for key in status["roles"]["root"]["keys"]}
    assert keys == {"root-1", "root-3", None}
    assert "root-2" not in shell("status", "--offline", "stick-a").stdout


def test_init_says_what_to_keep_and_what_to_give_away(shell: Shell, tmp_path: Path) -> None:
    done = shell("init")
    root = (tmp_path / "pub/repository/public/metadata/1.root.json").read_bytes()
    assert hashlib.sha256(root).hexdigest() in done.stdout
    assert "move them to media" in done.stderr
    assert "no passphrase" in done.stderr
    assert stat.S_IMODE((tmp_path / "pub/private").stat().st_mode) == 0o700
    again = shell("init", code=2)
    assert "a publisher in this folder already" in again.stderr


def test_without_a_publisher_every_command_says_how_to_make_one(shell: Shell) -> None:
    for command in (["release"], ["refresh"], ["status"], ["rotate"], ["access", "list"]):
        assert "iii-client publish init" in shell(*command, code=2).stderr


def test_offline_keys_open_with_their_passphrase_alone(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("correct horse\n")
    shell("init", "--passphrase-file", "phrase")
    shell("add", shell.write("first.csv", "a"), "--kind", "other")
    refused = shell("release", code=2)
    assert "protected by a passphrase" in refused.stderr
    (tmp_path / "wrong").write_text("battery staple")
    wrong = shell("release", "--passphrase-file", "wrong", code=2)
    assert "the passphrase is wrong" in wrong.stderr
    assert "battery" not in wrong.stderr
    shell("release", "--passphrase-file", "phrase")
    shell("refresh")


def test_a_catalogue_that_was_lost_empties_no_filter(published: Shell, tmp_path: Path) -> None:
    (tmp_path / "pub/private/catalogue.db").unlink()
    for base in ("--base", "--no-base"):
        done = published("release", base, "--offline", "stick-a", code=2)
        assert "there is no list to publish" in done.stderr
        assert "restore private/catalogue.db" in done.stderr


def test_a_new_list_needs_a_kind_and_bad_rows_are_named_and_refused(shell: Shell, tmp_path: Path) -> None:
    shell("init")
    name = shell.write("bad.csv", "a", "b")
    with (tmp_path / name).open("a") as file:
        file.write("md5,xyz,100,list,body,s,1,\n")
    assert "--kind" in shell("add", name, code=2).stderr
    refused = shell("add", name, "--kind", "intimate", code=2)
    assert "1 bad rows, nothing was added: line 4, value" in refused.stderr
    assert shell.json("status")["lists"] == []
    skipped = shell("add", name, "--kind", "intimate", "--bad-rows", "skip", code=3)
    assert "1 bad row skipped" in skipped.stderr
    assert [row["entries"] for row in shell.json("status")["lists"]] == [2]


def test_a_vics_file_lists_the_categories_that_are_named(shell: Shell, tmp_path: Path) -> None:
    shell("init")
    context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/UK/$metadata#Media"
    media = [{"MediaID": n, "Category": n, "MD5": hashlib.md5(b"%d" % n).hexdigest()} for n in range(4)]
    (tmp_path / "set.json").write_text(json.dumps({"@odata.context": context, "value": media}))
    assert "--code" in shell("add", "set.json", "--list", "l", "--source", "s", code=2).stderr
    options = ("--list", "l", "--source", "s", "--code", "1", "--code", "2", "--kind", "child-abuse")
    added = shell.json("add", "set.json", *options)
    assert (added["read"], added["passed_over"]) == (2, {"category 0": 1, "category 3": 1})
    assert shell.json("status")["lists"][0]["schemes"] == ["vics-uk"]


def test_half_a_complete_delivery_is_refused(published: Shell) -> None:
    half = published.write("half.csv", *"abcde")
    refused = published("add", half, "--complete", code=3)
    assert "leaves out 6 of 11 entries" in refused.stderr
    added = published.json("add", half, "--complete", "--most-dropped", "0.6")
    assert added["dropped"] == 6
    assert published.json("release")["removed"] == 6
    assert published.json("release", "--base", "--offline", "stick-a")["removed"] == 0


def test_without_an_offline_key_a_base_that_is_due_is_a_failure_that_says_so(published: Shell) -> None:
    published("add", published.write("sha1.csv", "a", algorithm="sha256"))
    many = published.write("many.csv", *map(str, range(1000)))
    published("add", many)
    done = published("release", code=3)
    assert "a base is due" in done.stderr
    assert "fetch a targets key" in done.stderr
    published("release", "--no-base", code=3)
    assert published.json("release", "--offline", "stick-b")["kind"] == "base"


def test_pictures_that_wait_for_a_base_are_a_failure_too(published: Shell, tmp_path: Path) -> None:
    source = random.Random(1)
    rows = [f"pdq,{source.randbytes(32).hex()},90,pictures,body,s,1,\n" for _ in range(10_000)]
    (tmp_path / "pictures.csv").write_text(HEADER + "".join(rows))
    published("add", "pictures.csv", "--kind", "child-abuse")
    done = published("release", code=3)
    assert "10,000 new pdq hashes have gathered for a near segment" in done.stderr
    published("release", "--no-base")
    assert published.json("release", "--offline", "stick-a")["kind"] == "base"
    shown = published("status").stdout
    assert "yes, 10,000" in shown


def test_a_withdrawn_picture_goes_with_all_its_hashes_and_stays_away(
    published: Shell, tmp_path: Path
) -> None:
    published("add", published.write("sha1.csv", "a", algorithm="sha1"))
    assert published.json("withdraw", published.write("gone.csv", "a")) == {"asked": 1, "withdrawn": 2}
    published("add", "first.csv")
    published("export", "all.csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        values = {row["value"] for row in csv.DictReader(file)}
    assert len(values) == 10
    assert hashlib.md5(b"a").hexdigest() not in values
    assert stat.S_IMODE((tmp_path / "all.csv").stat().st_mode) == 0o600
    assert "cannot be written" in published("export", "all.csv", code=2).stderr


def test_a_lost_root_key_is_rotated_out_with_two_others(published: Shell, tmp_path: Path) -> None:
    (tmp_path / "stick-b" / "root-2.pem").unlink()
    roles = published.json("status", "--offline", "stick-a", "--offline", "stick-b")["roles"]
    (lost,) = (key["id"] for key in roles["root"]["keys"] if key["here"] is None)
    done = published("rotate", "--key", lost[:8], "--offline", "stick-a", "--offline", "stick-b")
    assert "root version 2" in done.stdout
    assert (tmp_path / "stick-b" / "root-4.pem").exists()


def test_logins_are_given_listed_and_taken(published: Shell, tmp_path: Path) -> None:
    given = published.json("access", "add", "hoster.example", "--exact-only")
    assert given["tier"] == "exact"
    assert "III_FILTER_NEAR=false" in published("access", "add", "other.example", "--exact-only").stdout
    listed = published.json("access", "list")["logins"]
    assert [row["name"] for row in listed] == ["hoster.example", "other.example"]
    assert given["password"] not in json.dumps(listed)
    published("access", "revoke", "hoster.example")
    assert "hoster.example" not in (tmp_path / "pub/access/filter.htpasswd").read_text()


def test_a_mapping_rides_in_the_next_base(
    published: Shell, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    published("mapping", "uk-levels-to-categories")
    published("release", "--base", "--offline", "stick-a")
    root = tmp_path / "pub/repository/public/metadata/1.root.json"
    config = FilterConfig(url=serve(tmp_path / "pub/repository/public"), root=str(root))
    updater = Updater(config, tmp_path / "client")
    updater.update()
    (mapping,) = updater.store.installed().mappings
    assert (mapping.name, mapping.version, len(mapping.rows)) == ("uk-levels-to-categories", 1, 5)


def test_no_path_and_no_hash_is_in_an_error(published: Shell, tmp_path: Path) -> None:
    (tmp_path / "pub/private/catalogue.db").write_bytes(b"no database" * 999)
    done = published("release", code=2)
    assert "the lists cannot be opened" in done.stderr
    assert str(tmp_path) not in done.stderr
