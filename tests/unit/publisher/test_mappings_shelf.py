"""Tables between category schemes: what a version means never changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from iii_client.errors import ConfigurationError
from iii_client.model import Category, CategoryMapping, MappingRow, Relation
from iii_client.publisher.mappings import SHIPPED, MappingShelf, read_mapping, shipped_mapping
from iii_client.updates.signed_coverage import MAX_MAPPINGS

TABLE = CategoryMapping(
    name="one-to-two",
    version=2,
    scheme="one",
    to_scheme="two",
    rows=(MappingRow(code="1", to_code="A", relation=Relation.SAME),),
)


def test_what_is_on_the_shelf_comes_back(tmp_path: Path) -> None:
    shelf = MappingShelf(tmp_path / "mappings")
    assert shelf.all() == ()
    assert shelf.put(TABLE)
    assert not shelf.put(TABLE)
    assert MappingShelf(tmp_path / "mappings").all() == (TABLE,)


@pytest.mark.parametrize("version", [1, 2])
def test_another_table_under_a_version_that_was_used_is_refused(tmp_path: Path, version: int) -> None:
    shelf = MappingShelf(tmp_path)
    shelf.put(TABLE)
    other = replace(TABLE, version=version, to_scheme="three")
    with pytest.raises(ConfigurationError, match="version 2 of the mapping 'one-to-two' is here"):
        shelf.put(other)
    assert shelf.all() == (TABLE,)
    shelf.put(replace(other, version=3))
    assert [one.version for one in shelf.all()] == [3]


@pytest.mark.parametrize("name", ["", "../x", "A", "a b"])
def test_a_name_that_could_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="the name of a mapping"):
        MappingShelf(tmp_path).put(replace(TABLE, name=name))


def test_more_than_a_release_carries_are_refused(tmp_path: Path) -> None:
    shelf = MappingShelf(tmp_path)
    for n in range(MAX_MAPPINGS):
        shelf.put(replace(TABLE, name=f"table-{n}"))
    with pytest.raises(ConfigurationError, match="which is the most"):
        shelf.put(TABLE)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, json.dumps({"name": 1}), " " * 300_000])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigurationError):
        read_mapping(tmp_path / "x.json")


def test_the_table_that_ships_says_what_the_consultation_of_2012_says() -> None:
    """Category A: previously levels 4 and 5; B: levels 2 and 3; C: level 1."""
    (name,) = SHIPPED
    table = shipped_mapping(name)
    placed = {
        code: [c.code for c, _ in table.apply(Category(scheme="uk-sgc-2007", code=code, source="s"))]
        for code in "12345"
    }
    assert placed == {"1": ["C"], "2": ["B"], "3": ["B"], "4": ["A"], "5": ["A"]}
    with pytest.raises(ConfigurationError, match="no mapping 'other' ships"):
        shipped_mapping("other")
