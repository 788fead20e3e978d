"""`filter verify` ends with 0 only when the installed bytes are the signed ones, whoever wrote them there."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from iii_client import errors

from ...integration.updates.conftest import Handler  # noqa: TID252 - tests are no package on the path
from .conftest import Host
from .forge import Forge
from .test_operating import command


@pytest.fixture
def settled(host: Host) -> Host:
    """A base and a delta are installed."""
    host.forge.publish_base("a", "b")
    host.forge.publish_delta("c")
    assert host.update() == "1.1"
    assert "is what was signed" in command(host, "verify")
    return host


def change_pointer(host: Host, change: Callable[[dict[str, Any]], None]) -> None:
    pointer = host.state_dir / "filter" / "current"
    tree = json.loads(pointer.read_text())
    change(tree)
    pointer.write_text(json.dumps(tree))


def test_a_filter_that_nobody_signed_under_a_pointer_that_names_it(settled: Host) -> None:
    """All bits are gone, and the pointer and its digests agree with that."""
    folder = settled.state_dir / "filter" / "releases"
    (bundle,) = folder.glob("1.1-*.bundle")
    content = bundle.read_bytes()
    poisoned = content[:-2000] + bytes(2000)
    digest = hashlib.sha256(poisoned).hexdigest()
    name = f"1.1-{digest[:16]}.bundle"
    (folder / name).write_bytes(poisoned)
    change_pointer(settled, lambda tree: tree.update(sha256=digest, file=name))
    assert "nothing here proves" in command(settled, "verify", code=4)
    proof = bundle.with_suffix(".proof")
    (folder / name).with_suffix(".proof").write_bytes(proof.read_bytes())
    said = command(settled, "verify", code=4)
    assert "not the signed one" in said
    # What it says to do helps.
    assert "Remove the file `current`" in said
    settled.refuses(errors.GateError, "iii-client filter verify")
    (settled.state_dir / "filter" / "current").unlink()
    assert settled.update() == "1.1"
    assert "is what was signed" in command(settled, "verify")


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.update(withdrawn=["0" * 64]),
        lambda tree: tree.pop("canaries"),
        lambda tree: tree.update(
            near=[
                {
                    "algorithm": "pdq",
                    "number": 1,
                    "count": 1,
                    "size_bytes": 3,
                    "practice": True,
                    "sha256": hashlib.sha256(b"abc").hexdigest(),
                }
            ]
        ),
    ],
    ids=["withdrawals", "canaries", "a near segment"],
)
def test_a_pointer_that_says_other_things_than_were_signed(
    settled: Host, change: Callable[[dict[str, Any]], None]
) -> None:
    near = settled.state_dir / "filter" / "near"
    (near / f"pdq-1-{hashlib.sha256(b'abc').hexdigest()[:16]}.near").write_bytes(b"abc")
    change_pointer(settled, change)
    assert "not the signed one" in command(settled, "verify", code=4)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"targets": 1}', b'{"targets": "{}"}', b"[" * 9999])
def test_a_proof_that_is_none(settled: Host, content: bytes) -> None:
    (proof,) = (settled.state_dir / "filter" / "releases").glob("1.1-*.proof")
    proof.write_bytes(content)
    assert "nothing here proves" in command(settled, "verify", code=4)


def test_a_proof_of_another_publisher(settled: Host, tmp_path: Path) -> None:
    other = Forge(tmp_path / "other")
    other.publish_base("a", "b")
    other.publish_delta("c")
    texts = {
        role: (other.folder / "metadata" / f"{other.versions[role]}.{role}.json").read_text()
        for role in ("targets", "delta")
    }
    (proof,) = (settled.state_dir / "filter" / "releases").glob("1.1-*.proof")
    true = json.loads(proof.read_text())
    proof.write_text(json.dumps(texts))
    assert "no key of the pinned root signed the installed filter" in command(settled, "verify", code=4)
    proof.write_text(json.dumps(true | {"delta": texts["delta"]}))
    assert "no key of the pinned root signed the installed deltas" in command(settled, "verify", code=4)


def no_targets(handler: Handler) -> bool:
    if "/targets/" not in handler.path:
        return False
    handler.answer(500, b"")
    return True


def test_a_true_filter_is_verified_whatever_happened_since(settled: Host) -> None:
    forge = settled.forge
    forge.publish_base("a", epoch=2)
    assert settled.update() == "2.0"
    command(settled, "rollback")
    assert "release 1.1 is what was signed" in command(settled, "verify")
    # A newer base was seen and could not be fetched.
    settled.server.fault = no_targets
    forge.publish_base("b", epoch=3)
    with pytest.raises(errors.ServiceError):
        settled.update()
    assert "release 1.1 is what was signed" in command(settled, "verify")
    settled.server.fault = None
    assert settled.update() == "3.0"
    # Every key is another one, a host pins the newest root, and the terms are over.
    old, forge.keys.root = forge.keys.root, [CryptoSigner.generate_ed25519() for _ in range(3)]
    forge.keys.targets = forge.keys.online = forge.keys.delta = CryptoSigner.generate_ed25519()
    newest = forge.sign_root(signers=[*old[:2], *forge.keys.root[:2]])
    forge.sign()
    assert settled.update() == "3.0"
    Path(settled.config.root).write_bytes(newest)
    settled.shift = timedelta(days=400)
    assert "release 3.0 is what was signed" in command(settled, "verify")
