"""The catalogue: nothing counted twice, nothing lost between sources, nothing dropped by half a delivery."""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from iii_client.errors import ConfigurationError, PublishError
from iii_client.model import Algorithm, Category, HashValue, ListKind
from iii_client.publisher import Catalogue, ListEntry
from iii_client.publisher.catalogue import MAX_ITEM_HASHES, MAX_LINKED, PROGRESS_EVERY


def value(name: str, algorithm: Algorithm = Algorithm.SHA256) -> HashValue:
    content = hashlib.sha512(name.encode()).digest()[: algorithm.width_bits // 8]
    return HashValue(algorithm=algorithm, value=content)


def entry(
    name: str,
    algorithm: Algorithm = Algorithm.SHA256,
    *,
    on: str = "list",
    source: str = "body",
    code: str = "",
    item: str = "",
    quality: int = 100,
) -> ListEntry:
    return ListEntry(
        hash=value(name, algorithm),
        quality=quality,
        list_name=on,
        source=source,
        categories=(Category(scheme="scheme", code=code, source=source),) if code else (),
        item=item,
    )


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path / "catalogue.db")
    yield opened
    opened.close()


def names(catalogue: Catalogue) -> set[str]:
    """Which of a few hashes stand."""
    standing = {one.hash for one in catalogue.entries()}
    return {name for name in "abcdefghijkl" if value(name) in standing}


def test_the_same_hash_of_two_sources_keeps_both_and_all_categories(catalogue: Catalogue) -> None:
    catalogue.add([entry("a", source="one", code="1"), entry("a", source="two", code="9")])
    catalogue.add([entry("a", on="other", source="three", code="x")])
    assert [(e.list_name, e.source, e.categories[0].code) for e in catalogue.entries()] == [
        ("list", "one", "1"),
        ("list", "two", "9"),
        ("other", "three", "x"),
    ]
    assert [listing.sources for listing in catalogue.listings(value("a"))] == [("one", "two"), ("three",)]


def test_adding_says_what_it_did(catalogue: Catalogue) -> None:
    first = catalogue.add([entry("a"), entry("a"), entry("b", on="other")])
    assert (first.read, first.new, first.dropped, first.lists) == (3, 2, 0, ("list", "other"))
    again = catalogue.add([entry("a"), entry("b", on="other")])
    assert (again.read, again.new, again.lists) == (2, 0, ())


def test_a_new_list_needs_a_kind_when_none_is_given(catalogue: Catalogue) -> None:
    with pytest.raises(ConfigurationError, match="'list' is new") as caught:
        catalogue.add([entry("a")], kind=None)
    assert "child-abuse" in caught.value.hint
    assert catalogue.lists() == ()
    catalogue.add([entry("a")], kind=ListKind.CHILD_ABUSE)
    catalogue.add([entry("b")], kind=None)
    assert catalogue.kinds() == {"list": ListKind.CHILD_ABUSE}
    catalogue.set_kind("list", ListKind.INTIMATE)
    assert catalogue.kinds() == {"list": ListKind.INTIMATE}
    with pytest.raises(ConfigurationError, match="no list 'other'"):
        catalogue.set_kind("other", ListKind.OTHER)


# --- complete deliveries --------------------------------------------------------------------------------


def test_a_complete_delivery_drops_what_it_leaves_out_and_the_next_brings_it_back(
    catalogue: Catalogue,
) -> None:
    catalogue.add([entry(name) for name in "abcdefghijk"])
    catalogue.add([entry("l", on="other")])
    added = catalogue.add([entry(name) for name in "abcdefghij"], complete=True)
    assert (added.new, added.dropped, added.lists) == (0, 1, ("list",))
    assert names(catalogue) == set("abcdefghijl"), "another list is not concerned"
    assert catalogue.withdrawn() == (value("k"),)
    assert [listing.withdrawn for listing in catalogue.listings(value("k"))] == [True]
    back = catalogue.add([entry(name) for name in "abcdefghijk"], complete=True)
    assert (back.new, back.dropped) == (1, 0)
    assert names(catalogue) == set("abcdefghijkl")


def test_half_a_delivery_is_refused_and_changes_nothing(catalogue: Catalogue) -> None:
    catalogue.add([entry(name) for name in "abcdefghijkl"])
    with pytest.raises(PublishError, match="leaves out 6 of 12") as caught:
        catalogue.add([entry(name) for name in "abcdef"], complete=True)
    assert "--most-dropped" in caught.value.hint
    assert names(catalogue) == set("abcdefghijkl")
    assert catalogue.lists()[0].version == 1
    catalogue.add([entry(name) for name in "abcdef"], complete=True, most_dropped=0.5)
    assert names(catalogue) == set("abcdef")


def test_what_is_withdrawn_by_decision_stays_so_whatever_is_delivered(catalogue: Catalogue) -> None:
    catalogue.add([entry("a"), entry("b")])
    assert catalogue.withdraw(value("a")) == 1
    assert catalogue.withdraw(value("a")) == 0
    for complete in (False, True):
        catalogue.add([entry("a"), entry("b")], complete=complete)
    assert names(catalogue) == {"b"}


def test_what_was_dropped_can_be_withdrawn_for_good(catalogue: Catalogue) -> None:
    catalogue.add([entry(name) for name in "abcdefghijk"])
    catalogue.add([entry(name) for name in "abcdefghij"], complete=True)
    catalogue.withdraw(value("k"))
    catalogue.add([entry(name) for name in "abcdefghijk"], complete=True)
    assert names(catalogue) == set("abcdefghij")


# --- links ----------------------------------------------------------------------------------------------


def test_hashes_of_one_item_are_linked_also_over_lists(catalogue: Catalogue) -> None:
    catalogue.add([entry("a", Algorithm.MD5, item="1"), entry("a", Algorithm.SHA1, item="1")])
    catalogue.add(
        [entry("a", Algorithm.SHA1, on="other", item="x"), entry("a", on="other", item="x"), entry("b")]
    )
    digests = [value("a", algorithm) for algorithm in (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256)]
    for one in digests:
        assert set(catalogue.linked(one)) == set(digests)
        assert catalogue.linked(one)[0] == one
    assert catalogue.linked(value("b")) == (value("b"),)


def test_the_same_item_of_two_lists_is_not_one_picture(catalogue: Catalogue) -> None:
    catalogue.add([entry("a", item="1"), entry("b", on="other", item="1")])
    assert catalogue.linked(value("a")) == (value("a"),)


def test_a_picture_is_withdrawn_with_all_its_hashes(catalogue: Catalogue) -> None:
    catalogue.add(
        [
            entry("a", Algorithm.MD5, item="1"),
            entry("a", Algorithm.SHA1, item="1"),
            entry("a", Algorithm.SHA1, on="other"),
            entry("b"),
        ]
    )
    assert catalogue.withdraw(value("a", Algorithm.MD5), linked=True) == 2
    assert [one.hash for one in catalogue.entries()] == [value("b")]


def test_a_list_that_calls_everything_one_picture_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(PublishError, match="one item"):
        catalogue.add([entry(str(n), item="same") for n in range(MAX_ITEM_HASHES + 1)])
    assert catalogue.lists() == ()


def test_links_that_run_through_a_whole_list_are_not_followed(catalogue: Catalogue) -> None:
    catalogue.add(entry(str(n + step), item=str(n)) for n in range(MAX_LINKED + 5) for step in (0, 1))
    with pytest.raises(PublishError, match="linked"):
        catalogue.withdraw(value("0"), linked=True)
    assert catalogue.withdraw(value("0")) == 1


def test_entries_say_which_are_of_one_picture_when_asked(catalogue: Catalogue) -> None:
    catalogue.add([entry("a", item="1"), entry("b")])
    assert {one.item for one in catalogue.entries()} == {""}
    assert {one.hash: one.item for one in catalogue.entries(with_items=True)} == {
        value("a"): "1",
        value("b"): "",
    }


# --- quality, progress, the file ------------------------------------------------------------------------


def test_where_deliveries_disagree_about_quality_the_highest_counts(catalogue: Catalogue) -> None:
    for quality in (30, 70, 50):
        catalogue.add([entry("a", Algorithm.PDQ, quality=quality)])
    assert [one.quality for one in catalogue.entries()] == [70]


def test_long_work_reports_its_progress(catalogue: Catalogue) -> None:
    seen: list[int] = []
    catalogue.add((entry(str(n)) for n in range(PROGRESS_EVERY + 1)), progress=seen.append)
    assert seen == [PROGRESS_EVERY]


def test_a_file_that_another_process_changes_is_named(tmp_path: Path) -> None:
    one, other = (Catalogue(tmp_path / "catalogue.db", busy_timeout_s=0.1) for _ in range(2))

    def while_the_other_adds() -> Iterator[ListEntry]:
        yield entry("a")
        with pytest.raises(ConfigurationError, match="another process is changing the lists"):
            other.add([entry("b")])
        assert names(other) == set(), "reading goes on"

    one.add(while_the_other_adds())
    assert names(other) == {"a"}
    one.close()
    other.close()


def test_a_file_that_is_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    opened = Catalogue(path)
    opened.add(entry(str(n)) for n in range(2000))
    opened.close()
    content = bytearray(path.read_bytes())
    content[20_000:60_000] = bytes(40_000)
    path.write_bytes(content)
    damaged = Catalogue(path)
    with pytest.raises(ConfigurationError, match="the lists cannot be used") as caught:
        list(damaged.entries())
    assert "backup" in caught.value.hint
    damaged.close()


def test_the_practice_service_s_older_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    with sqlite3.connect(path) as db:
        db.executescript(
            """
            CREATE TABLE lists (name TEXT PRIMARY KEY, kind TEXT NOT NULL, version INTEGER NOT NULL);
            CREATE TABLE entries (
                algorithm TEXT NOT NULL, value BLOB NOT NULL, list TEXT NOT NULL REFERENCES lists (name),
                source TEXT NOT NULL, scheme TEXT NOT NULL, code TEXT NOT NULL, quality INTEGER NOT NULL,
                withdrawn INTEGER NOT NULL DEFAULT 0,
                PRIMARY KEY (algorithm, value, list, source, scheme, code)
            ) WITHOUT ROWID;
            INSERT INTO lists VALUES ('known', 'known', 3), ('iii-test', 'test', 1);
            PRAGMA user_version = 1;
            """
        )
        db.execute(
            "INSERT INTO entries VALUES ('sha256', ?, 'known', 'body', '', '', 100, 0)", (value("a").value,)
        )
    opened = Catalogue(path)
    assert opened.kinds() == {"known": ListKind.OTHER, "iii-test": ListKind.TEST}
    assert names(opened) == {"a"}
    opened.add([entry("a", on="known"), entry("b", on="known")])
    assert names(opened) == {"a", "b"}
    opened.close()
