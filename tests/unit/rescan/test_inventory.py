"""Listings: everything once, in an order that a cursor can go on in, whatever names strangers chose."""

import csv
import gzip
import json
import os
import string
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.errors import ConfigurationError
from iii_client.rescan.inventory import (
    matcher,
    normal_root,
    open_inventory,
    opener_of,
    reference_of,
    refuse_overlap,
)

NAMES = st.text(string.ascii_letters[:4] + "-. é=", min_size=1, max_size=4).filter(
    lambda name: name.strip(".") and name == name.strip()
)
TREES = st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=12)


def write_tree(root: Path, paths: list[list[str]]) -> set[str]:
    """Write files where no folder or file is in the way; the names of those that were written."""
    written = set()
    for parts in paths:
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        except OSError:
            continue
        written.add("/".join(parts))
    return written


@given(paths=TREES)
def test_a_listing_goes_on_behind_any_of_its_items(
    paths: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree")
    written = write_tree(root, paths)
    inventory = open_inventory(str(root))
    whole = list(inventory.entries(""))
    assert {entry.key for entry in whole} == written
    assert len(whole) == len(written)
    for number, entry in enumerate(whole):
        assert list(inventory.entries(entry.cursor)) == whole[number + 1 :]


@given(paths=TREES)
def test_a_remote_listing_goes_on_behind_any_of_its_items(paths: list[list[str]]) -> None:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    written = {"/".join(parts) for parts in paths}
    # A memory store, like a bucket, may hold both `a` and `a/b`; its listing then shows the object alone.
    written -= {name for name in written if any(name.startswith(f"{other}/") for other in written)}
    for name in written:
        fs.store[f"/store/{name}"] = fsspec.implementations.memory.MemoryFile(fs, f"/store/{name}", b"x")
    fs.pseudo_dirs.append("/store")
    inventory = open_inventory("memory://store")
    whole = list(inventory.entries(""))
    assert {entry.key for entry in whole} == written
    for number, entry in enumerate(whole):
        assert [e.key for e in inventory.entries(entry.cursor)] == [e.key for e in whole[number + 1 :]]


def test_bytes_that_are_no_text_are_a_name(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (entry,) = open_inventory(str(tmp_path)).entries("")
    source = opener_of(str(tmp_path))(entry.key, 1)
    assert isinstance(source, Path)
    assert source.read_bytes() == b"x"


def test_what_changes_changes_its_token(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    (before,) = open_inventory(str(tmp_path)).entries("")
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    (after,) = open_inventory(str(tmp_path)).entries("")
    assert before.token != after.token


def test_links_to_folders_are_not_followed_and_broken_ones_are_items(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "broken.jpg").symlink_to("/nowhere")
    assert [entry.key for entry in open_inventory(str(tmp_path)).entries("")] == ["broken.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_cannot_be_listed_is_an_item(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    assert [entry.key for entry in open_inventory(str(tmp_path)).entries("")] == ["closed"]


def test_a_single_file_is_its_own_item(tmp_path: Path) -> None:
    path = tmp_path / "one.jpg"
    path.write_bytes(b"x")
    (entry,) = open_inventory(str(path)).entries("")
    assert reference_of(str(path), entry.key) == str(path)
    assert list(open_inventory(str(path)).entries(entry.cursor)) == []


def test_a_list_of_names_goes_on_behind_any_line(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes(b"/srv/a.jpg\n\n/srv/caf\xe9.jpg\r\ns3://bucket/c")
    inventory = open_inventory(normal_root(f"list:{names}"))
    whole = list(inventory.entries(""))
    assert [os.fsencode(entry.key) for entry in whole] == [
        b"/srv/a.jpg",
        b"/srv/caf\xe9.jpg",
        b"s3://bucket/c",
    ]
    assert [entry.key for entry in inventory.entries(whole[0].cursor)] == [entry.key for entry in whole[1:]]


def test_a_deep_tree_is_walked(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(200):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "x").write_bytes(b"")
    (entry,) = open_inventory(str(tmp_path)).entries("")
    assert entry.key == "d/" * 200 + "x"


@pytest.mark.parametrize("address", ["", "sftp://me:secret@host/uploads", "/does/not/exist", "list:/nowhere"])
def test_an_address_that_cannot_be_one_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        normal_root(address)
    assert "secret" not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize("roots", [["/a", "/a/b"], ["s3://b/x", "s3://b/x"], ["/", "/a"]])
def test_no_item_may_belong_to_two_roots(roots: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        refuse_overlap(roots)
    refuse_overlap(["/a", "/ab", "s3://b/x", "s3://b/xy"])


def test_globs_choose() -> None:
    wanted = matcher(["*.jpg", "*.png"], ["thumbs/*"])
    assert [wanted(key) for key in ("a/b.jpg", "b.png", "thumbs/a.jpg", "c.txt")] == [
        True,
        True,
        False,
        False,
    ]


def s3_inventory(folder: Path, schema: str, files: list[list[list[str]]]) -> str:
    (folder / "data").mkdir(parents=True)
    for number, rows in enumerate(files):
        with gzip.open(folder / "data" / f"{number}.csv.gz", "wt", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    manifest = folder / "manifest.json"
    named = [{"key": f"inventory/data/{number}.csv.gz"} for number in range(len(files))]
    manifest.write_text(json.dumps({"fileFormat": "CSV", "fileSchema": schema, "files": named}))
    return normal_root(f"s3-inventory:{manifest}")


def test_an_s3_inventory_goes_on_behind_any_of_its_objects(tmp_path: Path) -> None:
    root = s3_inventory(
        tmp_path / "i",
        "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag",
        [
            [["b", "a%2Fodd+name%0A.jpg", "1", "true", "false", "7", "e1"]],
            [
                ["b", "old.jpg", "1", "false", "false", "7", "e2"],
                ["b", "gone.jpg", "1", "true", "true", "", ""],
                ["b", "c.jpg", "1", "true", "false", "9", "e3"],
            ],
            [],
            [["b", "d.jpg", "1", "true", "false", "0", "e4"]],
        ],
    )
    whole = list(open_inventory(root).entries(""))
    assert [(e.key, e.token) for e in whole] == [
        ("b/a/odd name\n.jpg", "e1"),
        ("b/c.jpg", "e3"),
        ("b/d.jpg", "e4"),
    ]
    for number, entry in enumerate(whole):
        assert list(open_inventory(root).entries(entry.cursor)) == whole[number + 1 :]
    assert reference_of(root, whole[1].key) == "s3://b/c.jpg"


@pytest.mark.parametrize(
    ("schema", "rows"),
    [
        ("Bucket, Key", [["b", "a", "surplus"]]),
        ("Bucket, Size", [["b", "1"]]),
        ("Bucket, Key, Size", [["b", "a", "x"]]),
    ],
)
def test_an_inventory_that_is_not_as_declared_is_refused(
    schema: str, rows: list[list[str]], tmp_path: Path
) -> None:
    root = s3_inventory(tmp_path / "i", schema, [rows])
    with pytest.raises(ConfigurationError):
        list(open_inventory(root).entries(""))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"fileFormat": "Parquet"}', b'{"fileFormat": "CSV"}', b"\xff"]
)
def test_a_manifest_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ConfigurationError):
        list(open_inventory(f"s3-inventory:{tmp_path}/manifest.json").entries(""))
