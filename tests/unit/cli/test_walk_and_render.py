"""Which files are scanned, and what a terminal is shown."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.cli.render import age, plural, safe_text, size
from iii_client.cli.walk import iter_files


def test_folders_are_walked_in_order_and_nothing_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.png", "b/1.png", "a.jpg", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    names = [str(path.relative_to(tmp_path)) for path in iter_files([tmp_path])]
    assert names == [".hidden", "a.jpg", "b/1.png", "b/2.png", "broken", "pipe"]


def test_a_link_to_a_folder_is_followed_only_when_named(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"x")
    (tmp_path / "tree" / "loop").symlink_to(tmp_path / "tree")
    assert [path.name for path in iter_files([tmp_path / "tree"])] == ["file"]
    assert [path.name for path in iter_files([tmp_path / "tree" / "loop"])] == ["file"]


def test_a_path_that_does_not_exist_is_yielded(tmp_path: Path) -> None:
    assert list(iter_files([tmp_path / "missing"])) == [tmp_path / "missing"]


@given(st.binary(max_size=40))
def test_no_file_name_can_steer_the_terminal(name: bytes) -> None:
    shown = safe_text(os.fsdecode(name))
    assert all(character.isprintable() for character in shown)
    shown.encode("utf-8")


def test_markup_in_a_file_name_is_shown_not_obeyed() -> None:
    from rich.console import Console

    console = Console(force_terminal=False, width=80)
    with console.capture() as capture:
        console.print(safe_text("[bold]x[/] [red"))
    assert capture.get() == "[bold]x[/] [red\n"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 40, "5120.0 GiB")]
)
def test_sizes_are_for_people(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "less than a minute"), (3600, "1 hour"), (90000, "1 day"), (180, "3 minutes")]
)
def test_ages_are_for_people(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_counts_are_for_people() -> None:
    assert [plural(count, noun) for count, noun in ((1, "file"), (2000, "hash"), (0, "picture"))] == [
        "1 file",
        "2,000 hashes",
        "0 pictures",
    ]
