"""The command as people run it: bad input, dead and lying services, signals, exit codes, no tracebacks."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iii_client import Config, Updater
from iii_client.sandbox import Sandbox
from iii_client.test_picture import listed_picture_bytes

COMMAND = [sys.executable, "-m", "iii_client"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox.open(tmp_path_factory.mktemp("sandbox")) as sandbox:
        sandbox.publish()
        sandbox.start()
        config = Config.from_env(sandbox.env)
        Updater(config.filter, config.state_dir).update()
        yield sandbox


def run(*arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        env={**clean, "COLUMNS": "200", **(env or {})},
        cwd=cwd,
    )
    assert "Traceback" not in result.stderr + result.stdout, result.stderr
    assert result.returncode != 5, result.stderr
    return result


def scan_lines(*arguments: object, env: dict[str, str]) -> tuple[int, dict[str, dict[str, Any]]]:
    result = run("scan", "--json", *arguments, env=env)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return result.returncode, {Path(line["path"]).name: line for line in lines}


def photograph(folder: Path, name: str, **options: Any) -> bytes:
    gradient = Image.radial_gradient("L").resize((320, 240))
    picture = Image.merge("RGB", (gradient, gradient.rotate(90, expand=False), gradient.rotate(45)))
    picture.save(folder / name, **options)
    return (folder / name).read_bytes()


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing: a decompression bomb's outside."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def bad_inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    jpeg = photograph(folder, "fine.jpg", quality=90)
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "zero.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (folder / "garbage.gif").write_bytes(b"GIF89a" + bytes(range(256)))
    (folder / "only-a-magic.webp").write_bytes(b"RIFF\x10\0\0\0WEBPVP8 ")
    (folder / "wrong-extension.txt").write_bytes(jpeg)
    (folder / "note.txt").write_text("no picture here")
    (folder / "iphone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (folder / "broken-link.jpg").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.jpg")
    (folder / os.fsdecode(b"caf\xe9-\x1b[31m.png")).write_bytes(b"")
    (folder / "sub").mkdir()
    return folder


def test_bad_input_gets_a_verdict_with_a_reason_and_the_scan_goes_on(
    service: Sandbox, bad_inputs: Path
) -> None:
    code, lines = scan_lines(bad_inputs, env=service.env)
    assert code == 3
    found = {name: (line["outcome"], line["action"], line["reasons"]) for name, line in lines.items()}
    held = ("unscannable", "quarantine")
    assert found == {
        "fine.jpg": ("no_match", "allow", []),
        "wrong-extension.txt": ("no_match", "allow", []),
        "note.txt": ("no_match", "allow", []),
        "truncated.jpg": (*held, ["truncated"]),
        "zero.png": (*held, ["empty"]),
        "bomb.png": (*held, ["too_many_pixels"]),
        "garbage.gif": (*held, found["garbage.gif"][2]),
        "only-a-magic.webp": (*held, found["only-a-magic.webp"][2]),
        "iphone.heic": ("unscannable", "allow", ["format_not_enabled"]),
        "broken-link.jpg": (*held, ["unreadable"]),
        "pipe.jpg": (*held, ["not_a_file"]),
        "caf\udce9-\x1b[31m.png": (*held, ["empty"]),
    }
    assert lines["note.txt"]["skipped"] == [{"what": "pixels", "reason": "not_a_picture", "detail": ""}]
    assert lines["wrong-extension.txt"]["kind"] == "jpeg"


def test_the_table_shows_no_raw_escape_sequence(service: Sandbox, bad_inputs: Path) -> None:
    result = run("scan", bad_inputs, env=service.env)
    assert result.returncode == 3
    assert "\x1b" not in result.stdout
    assert "broken-link.jpg" in result.stdout
    assert "0 hashes sent" in result.stdout


def test_a_path_that_does_not_exist_is_unscannable_and_not_fatal(service: Sandbox, tmp_path: Path) -> None:
    code, lines = scan_lines(tmp_path / "missing.jpg", env=service.env)
    assert (code, lines["missing.jpg"]["reasons"]) == (3, ["unreadable"])


def test_the_test_picture_goes_the_whole_path(service: Sandbox, tmp_path: Path) -> None:
    assert run("test-picture", "listed.png", cwd=tmp_path).returncode == 0
    assert (tmp_path / "listed.png").read_bytes() == listed_picture_bytes()
    again = run("test-picture", "listed.png", cwd=tmp_path)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)

    summary = tmp_path / "summary.json"
    result = run("scan", "--json", "--summary", summary, tmp_path / "listed.png", env=service.env)
    (line,) = map(json.loads, result.stdout.splitlines())
    assert result.returncode == 1
    assert (line["outcome"], line["action"], line["rule"]) == ("matched", "block", "matched_test")
    assert line["matches"][0]["exact"]
    assert line["matches"][0]["categories"] == [{"scheme": "iii-test", "code": "test", "source": "iii-test"}]
    totals = json.loads(summary.read_text())
    assert (totals["files"], totals["candidates"], totals["hashes_sent"]) == (1, 1, 1)


def test_shadow_allows_and_says_what_it_would_have_done(service: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "listed.png").write_bytes(listed_picture_bytes())
    code, lines = scan_lines(tmp_path, env={**service.env, "III_MODE": "shadow"})
    line = lines["listed.png"]
    assert (code, line["outcome"], line["action"], line["ruled"]) == (1, "matched", "allow", "block")


@pytest.mark.parametrize("command", [["scan", "."], ["doctor"], ["filter", "status"]])
def test_without_a_mode_both_modes_are_explained(command: list[str], tmp_path: Path) -> None:
    result = run(*command, env={"III_STATE_DIR": str(tmp_path)})
    assert result.returncode == 2
    said = result.stdout + result.stderr
    assert "III_MODE=shadow" in said
    assert "III_MODE=enforce" in said


def test_doctor_is_content_with_a_whole_installation(service: Sandbox) -> None:
    result = run("doctor", "--json", env=service.env)
    checks = {check["name"]: check["state"] for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == 0
    assert set(checks.values()) == {"ok"}
    assert service.env["III_SERVICE_PASSWORD"] not in result.stdout


def test_doctor_names_each_missing_piece_and_what_works_without_it(tmp_path: Path) -> None:
    result = run("doctor", "--json", env={"III_STATE_DIR": str(tmp_path)})
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == 2
    for name in ("mode", "trust root", "filter source", "filter", "service"):
        assert checks[name]["state"] == "missing"
        assert checks[name]["todo"]
        assert checks[name]["without"]


def test_doctor_finds_what_only_looking_can_find(service: Sandbox, tmp_path: Path) -> None:
    """A root that is none, one of another repository, damaged records, a wrong policy row."""
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "state.db").write_bytes(b"random bytes, no database" * 200)
    (tmp_path / "iii.toml").write_text('[policy.rules]\nmatched_exakt = "block"\n')
    with Sandbox.open(tmp_path / "other") as other:
        foreign_root = other.env["III_FILTER_ROOT"]
        for changed in (
            {"III_FILTER_ROOT": str(tmp_path / "root.json")},
            {"III_FILTER_ROOT": str(tmp_path)},
            {"III_FILTER_ROOT": foreign_root},
            {"III_STATE_DIR": str(tmp_path)},
            {"III_CONFIG": str(tmp_path / "iii.toml")},
        ):
            result = run("doctor", "--json", env={**service.env, **changed})
            states = {check["state"] for check in json.loads(result.stdout)["checks"]}
            assert result.returncode != 0, changed
            assert "fail" in states, changed


def test_doctor_makes_no_state_directory(tmp_path: Path) -> None:
    run("doctor", env={"III_STATE_DIR": str(tmp_path / "state")})
    assert not (tmp_path / "state").exists()


def test_the_bridge_is_named_loudly(service: Sandbox, tmp_path: Path) -> None:
    env = {**service.env, "III_FILTER": "none", "III_SERVICE_PROTOCOL": "v1"}
    assert "EVERY picture" in run("doctor", env=env).stdout
    photograph(tmp_path, "a.png")
    result = run("scan", tmp_path, env=env)
    assert (result.returncode, "EVERY picture" in result.stdout) == (0, True)
    assert "1 hash sent" in result.stdout


def test_without_a_filter_the_scan_says_so_and_is_incomplete(service: Sandbox, tmp_path: Path) -> None:
    photograph(tmp_path, "a.png")
    result = run("scan", tmp_path, env={**service.env, "III_STATE_DIR": str(tmp_path / "state")})
    assert (result.returncode, "no usable filter is installed" in result.stdout) == (3, True)
    status = run("filter", "status", env={**service.env, "III_STATE_DIR": str(tmp_path / "state")})
    assert (status.returncode, "iii-client filter update" in status.stderr) == (3, True)


def test_the_filter_is_updated_shown_and_verified(service: Sandbox, tmp_path: Path) -> None:
    env = {**service.env, "III_STATE_DIR": str(tmp_path)}
    first = json.loads(run("filter", "update", "--json", env=env).stdout)
    assert (first["release"], first["previous"], first["changed"]) == ("1.0", "none", True)
    again = json.loads(run("filter", "update", "--json", env=env).stdout)
    assert (again["changed"], again["previous"]) == (False, "1.0")
    status = json.loads(run("filter", "status", "--json", env=env).stdout)
    assert (status["release"], status["freshness"]) == ("1.0", "fresh")
    assert {section["name"] for section in status["sections"]} >= {"md5", "sha1", "sha256"}
    (near,) = status["near"]
    assert {name: near[name] for name in ("name", "algorithm", "number", "count", "practice")} == {
        "name": "near/pdq/1",
        "algorithm": "pdq",
        "number": 1,
        "count": 1,
        "practice": True,
    }
    shown = run("filter", "status", env=env).stdout
    assert all(words in shown for words in ("sha256", "near/pdq/1 (practice)", "not to be relied on"))
    doctor = json.loads(run("doctor", "--json", env=env).stdout)
    assert "practice" in next(c["without"] for c in doctor["checks"] if c["name"] == "filter")
    assert run("filter", "verify", env=env).returncode == 0

    (bundle,) = (tmp_path / "filter" / "releases").glob("*.bundle")
    content = bytearray(bundle.read_bytes())
    content[-1] ^= 1
    bundle.write_bytes(content)
    assert run("filter", "verify", env=env).returncode == 4

    assert run("filter", "update", env=env).returncode == 0
    (segment,) = (tmp_path / "filter" / "near").iterdir()
    segment.write_bytes(segment.read_bytes()[:-1])
    assert run("filter", "verify", env=env).returncode == 4


def test_a_wrong_trust_root_is_a_trust_failure(service: Sandbox, tmp_path: Path) -> None:
    with Sandbox.open(tmp_path / "other") as other:
        root = other.env["III_FILTER_ROOT"]
        result = run(
            "filter",
            "update",
            env={**service.env, "III_FILTER_ROOT": root, "III_STATE_DIR": str(tmp_path / "state")},
        )
    assert result.returncode == 4
    assert "error:" in result.stderr


def test_a_dead_service_is_named_and_holds_what_hit(service: Sandbox, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
    env = {**service.env, "III_SERVICE_URL": dead, "III_FILTER_URL": f"{dead}/filter"}
    (tmp_path / "listed.png").write_bytes(listed_picture_bytes())
    code, lines = scan_lines(tmp_path, env=env)
    assert (code, lines["listed.png"]["outcome"], lines["listed.png"]["action"]) == (
        3,
        "unconfirmed",
        "quarantine",
    )
    assert lines["listed.png"]["reasons"] == ["service_unreachable"]
    update = run("filter", "update", env=env)
    assert (update.returncode, "error:" in update.stderr) == (3, True)
    assert run("doctor", env=env).returncode == 3


def test_wrong_credentials_are_named(service: Sandbox, tmp_path: Path) -> None:
    # Earlier answers about the same picture are remembered, and would be given without asking.
    wrong = {"III_SERVICE_PASSWORD": "wrong", "III_FILTER_PASSWORD": "wrong", "III_CACHE": "false"}
    env = {**service.env, **wrong}
    (tmp_path / "listed.png").write_bytes(listed_picture_bytes())
    _, lines = scan_lines(tmp_path, env=env)
    assert lines["listed.png"]["reasons"] == ["service_refused"]
    for command in (["filter", "update"], ["doctor"]):
        result = run(*command, env=env)
        assert result.returncode == 3
        assert "credential" in (result.stdout + result.stderr).lower()


def test_sigterm_ends_a_scan_with_130(service: Sandbox, tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:04}.png").write_bytes(listed_picture_bytes())
    clean = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    with subprocess.Popen(
        [*COMMAND, "scan", "--json", str(tmp_path)],
        env={**clean, **service.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        error = process.stderr.read()
    assert (process.returncode, b"Traceback" in error) == (130, False)


def test_the_sandbox_command_prints_one_line_and_is_the_same_service_again(tmp_path: Path) -> None:
    (tmp_path / "known").mkdir()
    photograph(tmp_path / "known", "known.jpg")
    environments = []
    for _ in range(2):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
        with subprocess.Popen(
            [*COMMAND, "sandbox", "--data", str(tmp_path / "data"), "--known", str(tmp_path / "known")],
            env=clean,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            environments.append(told["env"])
            assert run("filter", "update", env=told["env"]).returncode == 0
            code, lines = scan_lines(tmp_path / "known", env=told["env"])
            assert (code, lines["known.jpg"]["action"], lines["known.jpg"]["release"]) == (1, "block", "1.0")
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == b""
        assert process.returncode == 130
        assert time.monotonic() - started < 10
    same = ("III_SERVICE_PASSWORD", "III_FILTER_ROOT", "III_STATE_DIR", "III_MODE")
    assert [environments[0][name] for name in same] == [environments[1][name] for name in same]


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan"],
        ["scan", "--jobs", "-1", "."],
        ["scan", ""],
        ["scan", "--summary", "/nowhere-at-all/summary.json", "."],
        ["nonsense"],
        ["filter"],
        ["demo", "/nowhere-at-all"],
        ["sandbox"],
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments, env={"III_MODE": "shadow"}).returncode == 2
