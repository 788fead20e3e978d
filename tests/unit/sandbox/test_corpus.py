"""What is listed is found, again after a restart, and a list's version says when it changed."""

import hashlib
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from skimage import data

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, Category, HashValue
from iii_client.publisher import FULL_QUALITY, ListEntry
from iii_client.sandbox import Corpus
from iii_client.sandbox.corpus import MAX_FOUND


def sha256(name: str) -> HashValue:
    return HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(name.encode()).digest())


def pdq(flipped_bits: int = 0) -> HashValue:
    value = int.from_bytes(hashlib.sha256(b"look").digest()) ^ ((1 << flipped_bits) - 1)
    return HashValue(algorithm=Algorithm.PDQ, value=value.to_bytes(32))


def entry(value: HashValue, *, on: str = "known", source: str = "body", code: str = "") -> ListEntry:
    return ListEntry(
        hash=value,
        quality=FULL_QUALITY if value.algorithm.is_digest else 80,
        list_name=on,
        source=source,
        categories=(Category(scheme="scheme", code=code, source=source),) if code else (),
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    opened = Corpus(tmp_path / "corpus.db")
    yield opened
    opened.close()


def picture(name: str) -> Path:
    return Path(data.__file__).parent / name


def versions(corpus: Corpus) -> dict[str, int]:
    return {info.name: info.version for info in corpus.lists()}


def test_a_listed_digest_is_found_with_its_list_sources_and_categories(corpus: Corpus) -> None:
    corpus.add_entries([entry(sha256("a"), source="one", code="1"), entry(sha256("a"), source="two")])
    (found,) = corpus.find(sha256("a"))
    assert found.hash == sha256("a")
    assert found.distance_bits == 0
    assert found.sources == ("one", "two")
    assert found.categories == (Category(scheme="scheme", code="1", source="one"),)
    assert found.list_version == "known@1"
    assert not found.withdrawn


def test_what_is_not_listed_is_not_found(corpus: Corpus) -> None:
    corpus.add_entries([entry(sha256("a"))])
    assert corpus.find(sha256("b")) == ()
    assert corpus.find(HashValue(algorithm=Algorithm.PDQ, value=sha256("a").value)) == ()


def test_a_hash_on_two_lists_is_found_on_both(corpus: Corpus) -> None:
    corpus.add_entries([entry(sha256("a"), on="first"), entry(sha256("a"), on="second")])
    assert [found.list_version for found in corpus.find(sha256("a"))] == ["first@1", "second@1"]


@pytest.mark.parametrize(("flipped_bits", "expected"), [(0, [0]), (31, [31]), (32, [])])
def test_a_perceptual_hash_is_found_up_to_31_bits_away(
    corpus: Corpus, flipped_bits: int, expected: list[int]
) -> None:
    corpus.add_entries([entry(pdq())])
    found = corpus.find(pdq(flipped_bits))
    assert [item.distance_bits for item in found] == expected
    assert all(item.hash == pdq() for item in found)


def test_the_nearest_are_named_first_and_not_more_than_the_cap(corpus: Corpus) -> None:
    corpus.add_entries(entry(pdq(bits)) for bits in range(25))
    assert [item.distance_bits for item in corpus.find(pdq())] == list(range(MAX_FOUND))


def test_the_two_conventions_of_pdq_are_not_mixed(corpus: Corpus) -> None:
    corpus.add_entries([entry(pdq())])
    assert corpus.find(HashValue(algorithm=Algorithm.PDQ_512, value=pdq().value)) == ()


def test_what_is_added_later_is_found_at_once(corpus: Corpus) -> None:
    assert corpus.find(pdq()) == ()
    corpus.add_entries([entry(pdq())])
    assert len(corpus.find(pdq())) == 1


def test_a_withdrawn_hash_is_known_as_withdrawn_and_no_more_published(corpus: Corpus) -> None:
    corpus.add_entries([entry(sha256("a")), entry(sha256("b"))])
    corpus.withdraw(sha256("a"))
    assert [found.withdrawn for found in corpus.find(sha256("a"))] == [True]
    assert [item.hash for item in corpus.entries()] == [sha256("b")]
    corpus.add_entries([entry(sha256("a"))])
    assert [found.withdrawn for found in corpus.find(sha256("a"))] == [True]


def test_only_what_stands_on_no_list_any_more_is_withdrawn(corpus: Corpus) -> None:
    corpus.add_entries([entry(pdq()), entry(pdq(), on="other", source="two", code="1"), entry(sha256("b"))])
    assert corpus.withdrawn() == ()
    corpus.withdraw(pdq())
    assert corpus.withdrawn() == (pdq(),)
    corpus.add_entries([entry(pdq(), on="third")])
    assert corpus.withdrawn() == ()


def test_a_version_grows_with_each_change_and_only_then(corpus: Corpus) -> None:
    corpus.add_entries([entry(sha256("a")), entry(sha256("b"), on="other")])
    assert versions(corpus) == {"known": 1, "other": 1}
    corpus.add_entries([entry(sha256("a"))])
    assert versions(corpus) == {"known": 1, "other": 1}
    corpus.add_entries([entry(sha256("c"))])
    corpus.withdraw(sha256("b"))
    assert versions(corpus) == {"known": 2, "other": 2}


def test_lists_tell_their_sources_schemes_and_size(corpus: Corpus) -> None:
    corpus.add_entries([entry(sha256("a"), source="one", code="1"), entry(sha256("b"), source="two")])
    (info,) = corpus.lists()
    assert (info.entries, info.sources, info.category_schemes) == (2, ("one", "two"), ("scheme",))


def test_entries_come_back_as_they_were_added(corpus: Corpus) -> None:
    added = [entry(pdq(), code="1"), entry(sha256("a"), source="one"), entry(sha256("a"), source="two")]
    corpus.add_entries(added)
    assert sorted(corpus.entries(), key=repr) == sorted(added, key=repr)


def test_a_fault_in_the_middle_adds_nothing(corpus: Corpus) -> None:
    def broken() -> Iterator[ListEntry]:
        yield entry(sha256("a"))
        raise ConfigurationError("line 3")

    with pytest.raises(ConfigurationError):
        corpus.add_entries(broken())
    assert corpus.find(sha256("a")) == ()
    assert corpus.lists() == ()


def test_pictures_are_listed_by_digests_and_one_perceptual_hash(corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "rocket.jpg").write_bytes(picture("rocket.jpg").read_bytes())
    (folder / "notes.txt").write_text("not a picture")
    assert corpus.add_pictures([folder, picture("coffee.png")], list_name="mine", source="me") == 2
    algorithms = sorted(item.hash.algorithm for item in corpus.entries())
    assert algorithms == sorted([Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256, Algorithm.PDQ] * 2)
    digest = hashlib.sha1(picture("rocket.jpg").read_bytes()).digest()
    (found,) = corpus.find(HashValue(algorithm=Algorithm.SHA1, value=digest))
    assert found.list_version == "mine@1"
    assert found.sources == ("me",)


def test_a_path_that_does_not_exist_is_named_as_a_fault(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        corpus.add_pictures([picture("rocket.jpg"), tmp_path / "secret-name"])
    assert corpus.lists() == ()


def test_feedback_is_stored_once(corpus: Corpus) -> None:
    assert corpus.keep_feedback("key", new_id="1", content="x") == ("1", True)
    assert corpus.keep_feedback("key", new_id="2", content="x") == ("1", True)
    assert corpus.keep_feedback("key", new_id="3", content="y") == ("1", False)


def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    first = Corpus(tmp_path / "corpus.db")
    first.add_entries([entry(sha256("a")), entry(pdq())])
    before = (first.find(sha256("a")), first.find(pdq(3)), first.lists())
    first.close()
    again = Corpus(tmp_path / "corpus.db")
    assert (again.find(sha256("a")), again.find(pdq(3)), again.lists()) == before
    again.close()


def test_the_file_is_for_its_owner_alone(corpus: Corpus, tmp_path: Path) -> None:
    corpus.add_entries([entry(sha256("a"))])
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("corpus.db*")} == {0o600}


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Corpus(tmp_path / "noise.db")


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "newer.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="version 99"):
        Corpus(tmp_path / "newer.db")
