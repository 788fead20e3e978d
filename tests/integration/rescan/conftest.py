"""A practice service, its filter installed, and a folder of small pictures of which two are listed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rescan_site import Site, noise

from iii_client.sandbox import Sandbox


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    pictures = tmp_path / "pictures"
    for number in range(24):
        noise(pictures / f"user{number % 3}" / f"{number:02}.png")
    (pictures / "user0" / "empty.png").write_bytes(b"")
    (pictures / "user0" / "note.txt").write_text("no picture")
    (pictures / "user1" / os.fsdecode(b"caf\xe9.png")).write_bytes(
        (pictures / "user0" / "00.png").read_bytes()
    )
    with Sandbox.open(tmp_path / "sandbox") as sandbox:
        sandbox.add_pictures([pictures / "user0" / "00.png"])
        sandbox.start()
        site = Site(sandbox, tmp_path, pictures)
        site.update()
        yield site
