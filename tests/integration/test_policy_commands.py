"""`iii-client policy` and `iii-client allow` as people run them."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from iii_client.cli.app import run
from iii_client.model import (
    Action,
    Algorithm,
    Decision,
    Fingerprint,
    HashValue,
    Mode,
    Outcome,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.records import SqliteStore, StateRecorder
from iii_client.records.allow_list import AllowList

Command = Callable[..., tuple[int, str, str]]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = b"a picture that ships with a content management system"
SHA256 = hashlib.sha256(GOOD).hexdigest()


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command on a state directory of its own; what it returned and said."""
    monkeypatch.setenv("III_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("III_MODE", raising=False)
    monkeypatch.delenv("III_CONFIG", raising=False)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "iii.toml"
        file.write_text(text)
        return file

    return write


def allow_list(tmp_path: Path) -> AllowList:
    return AllowList(SqliteStore(tmp_path / "state" / "state.db"))


def record_case(tmp_path: Path, *, route: str = "avatar") -> str:
    """One held upload of the good picture; its case reference."""
    verdict = Verdict(
        outcome=Outcome.MATCHED,
        fingerprint=Fingerprint(
            recipe="fast-v1",
            size_bytes=1,
            kind="png",
            digests=(HashValue.from_hex(Algorithm.SHA256, SHA256),),
        ),
        release=ReleaseId(epoch=1, sequence=0),
    )
    decision = Decision(
        action=Action.BLOCK, ruled=Action.BLOCK, rule="matched_exact", verdict=verdict, mode=Mode.ENFORCE
    )
    recorder = StateRecorder.in_directory(tmp_path / "state", clock=lambda: NOON)
    receipt = recorder.record(decision, UploadContext(route=route))
    recorder.close()
    return receipt.case_reference


# --- policy ---------------------------------------------------------------------------------------------


def test_a_newcomer_without_any_configuration_is_told_what_would_be_done(command: Command) -> None:
    code, out, _ = command("policy", "explain")
    assert code == 0
    assert "An exact copy of a listed file is blocked." in out
    assert "No mode is set" in out
    assert "III_MODE=shadow" in out.replace("\n", " ")


def test_what_is_not_the_default_is_marked_and_a_route_is_explained(
    command: Command, toml: Callable[[str], Path]
) -> None:
    file = toml(
        'mode = "enforce"\n[policy.rules]\nno_filter = "allow"\n[policy.routes.avatar]\nshadow = true\n'
    )
    _, out, _ = command("policy", "explain", "--file", file)
    assert [line for line in out.splitlines() if line.startswith("*")] == [
        "* Everything, while no filter is installed, is let through and recorded. (default: quarantine)"
        "  no_filter"
    ]
    assert "for every route but 'avatar'" in out
    _, out, _ = command("policy", "explain", "--file", file, "--route", "avatar")
    assert "Shadow: nothing of this is carried out on this route" in out


def test_an_explanation_for_machines_has_one_entry_a_sentence(command: Command) -> None:
    _, out, _ = command("policy", "explain", "--json")
    told = json.loads(out)
    assert len(told["version"]) == 12
    exact = next(sentence for sentence in told["sentences"] if sentence["row"] == "matched_exact")
    assert (exact["action"], exact["default"], exact["changed"]) == ("block", "block", False)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ('mode = "enforce"\n', 0, "nothing to say"),
        ('mode = "enforce"\n[policy.rules]\nno_filter = "allow"\n', 3, "fails open"),
        ('mode = "enforce"\n[policy.rules]\nno_match = "block"\n', 2, "every innocent upload"),
        ("[policy.rules]\nno_filter = 'quarantine'\n", 0, "nothing to say"),
        ('mode = "shadow"\n', 3, "is shadow"),
    ],
)
def test_lint_says_what_is_wrong_by_its_exit_code(
    command: Command, toml: Callable[[str], Path], text: str, code: int, says: str
) -> None:
    ended, out, _ = command("policy", "lint", toml(text))
    assert (ended, says in out) == (code, True), out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('mode = "enforce"\n[policy.rules]\nmatched_exakt = "block"\n', "Did you mean matched_exact?"),
        ("[policy.rules", "not TOML"),
        ('mode = "on"\n', "mode must be shadow or enforce"),
    ],
)
def test_lint_refuses_what_the_scanner_would_refuse(
    command: Command, toml: Callable[[str], Path], text: str, says: str
) -> None:
    code, _, err = command("policy", "lint", toml(text))
    assert code == 2
    assert says in err


def test_lint_knows_from_the_records_which_routes_are_used(
    command: Command, toml: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml('mode = "enforce"\n[policy.routes.avatr]\nnear_bits = 9\n')
    monkeypatch.setenv("III_CONFIG", str(file))
    assert command("policy", "lint")[0] == 0, "without records nobody knows"
    record_case(tmp_path, route="avatar")
    code, out, _ = command("policy", "lint", "--json")
    assert code == 3
    (finding,) = json.loads(out)["findings"]
    assert (finding["where"], "avatar" in finding["says"]) == ("policy.routes.avatr", True)


def test_a_policy_can_be_tried_without_a_file(command: Command) -> None:
    tried: list[tuple[list[str], dict[str, Any]]] = [
        (["--hash", "sha256"], {"ruled": "block", "rule": "matched_exact"}),
        (["--hash", "pdq", "--distance", "31"], {"ruled": "quarantine", "rule": "matched_near"}),
        (["--hash", "pdq", "--own"], {"ruled": "quarantine", "rule": "matched_near_loose"}),
        (["--category", "other:1@x"], {"ruled": "quarantine", "rule": "matched_below_floor"}),
        (["--outcome", "unconfirmed", "--reason", "deferred"], {"rule": "unconfirmed_deferred"}),
        (["--outcome", "no_match"], {"ruled": "allow", "rule": "no_match"}),
    ]
    for arguments, expected in tried:
        code, out, _ = command("policy", "test", "--json", *arguments)
        assert code == 0
        assert json.loads(out).items() >= expected.items(), arguments
    code, _, err = command("policy", "test", "--category", "nonsense")
    assert code == 2
    assert "scheme:code" in err


# --- allow ----------------------------------------------------------------------------------------------


def test_a_file_is_allowed_by_its_digest_by_itself_or_by_its_case(command: Command, tmp_path: Path) -> None:
    good = HashValue.from_hex(Algorithm.SHA256, SHA256)
    (tmp_path / "logo.png").write_bytes(GOOD)
    case = record_case(tmp_path)
    for named in (
        (SHA256,),
        (f"sha256:{SHA256.upper()}",),
        ("--file", tmp_path / "logo.png"),
        ("--case", case),
    ):
        code, out, _ = command("allow", "add", *named, "--reason", "bundled", "--operator", "ann")
        assert (code, "is on the allow-list now" in out) == (0, True)
        assert SHA256 not in out
        assert allow_list(tmp_path).allowed([good]) == {good}
        code, out, _ = command("allow", "remove", *named, "--operator", "ann", "--second", "bob")
        assert (code, "no longer" in out) == (0, True)
        assert allow_list(tmp_path).allowed([good]) == frozenset()


def test_the_earlier_cases_of_a_file_are_named(command: Command, tmp_path: Path) -> None:
    cases = [record_case(tmp_path) for _ in range(2)]
    _, out, _ = command("allow", "add", SHA256, "--reason", "bundled", "--json")
    assert sorted(json.loads(out)["cases"]) == sorted(cases)
    _, _, err = command("allow", "add", "--case", cases[0], "--reason", "bundled")
    assert all(case in err for case in cases)
    assert "review decide REF --as ok" in err
    assert json.loads(command("allow", "add", "00" * 32, "--reason", "r", "--json")[1])["cases"] == []


def test_the_list_shows_who_and_why_and_whole_digests_only_when_asked(command: Command) -> None:
    assert "empty" in command("allow", "list")[1]
    command("allow", "add", SHA256, "--reason", "bundled\x1b[31m", "--operator", "ann", "--second", "bob")
    _, out, _ = command("allow", "list")
    assert "ann and bob" in out
    assert SHA256[:12] in out
    assert SHA256 not in out
    assert "\x1b" not in out
    (line,) = command("allow", "list", "--json", "--full")[1].splitlines()
    told = json.loads(line)
    assert (told["digest"], told["operator"], told["second_operator"]) == (SHA256, "ann", "bob")


def test_the_beginning_of_a_digest_is_enough_to_remove_it(command: Command, tmp_path: Path) -> None:
    other = SHA256[:9] + ("0" if SHA256[9] != "0" else "1") * 55
    for digest in (SHA256, other):
        command("allow", "add", digest, "--reason", "r")
    code, _, err = command("allow", "remove", SHA256[:8])
    assert code == 2
    assert "2 entries begin so" in err
    assert command("allow", "remove", SHA256[:12])[0] == 0
    (left,) = allow_list(tmp_path).entries()
    assert left.digest.hex == other


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one of"),
        ((SHA256, "--case", "7K3M-Q2WF-9XTA"), "give one of"),
        (("abc",), "no digest"),
        (("g" * 64,), "no digest"),
        (("ab" * 8,), "exact bytes"),
        ((f"pdq:{SHA256}",), "exact bytes"),
        (("--case", "7K3M-Q2WF-9XTA"), "no file is recorded"),
        (("--case", "7K3M"), "three groups"),
        (("--file", "/nowhere/at/all"), "cannot be read"),
        ((SHA256, "--operator", "ann", "--second", "Ann"), "another person"),
    ],
)
def test_what_cannot_be_allowed_is_refused_with_what_to_do(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = command("allow", "add", *arguments, "--reason", "r")
    assert code == 2
    assert says in err.replace("\n", " ")
    assert "/nowhere" not in err
    assert allow_list(tmp_path).entries() == ()


def test_a_digest_that_can_be_forged_is_taken_with_a_warning(command: Command) -> None:
    code, _, err = command("allow", "add", "ab" * 16, "--reason", "from a list of known files")
    assert code == 0
    assert "can be forged" in err


def test_a_reason_is_asked_for(command: Command) -> None:
    assert command("allow", "add", SHA256)[0] == 2
    code, _, err = command("allow", "add", SHA256, "--reason", " ")
    assert code == 2
    assert "next year" in err
