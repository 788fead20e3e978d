"""Project VIC's form: what is to be listed is, what is harmless or unreadable never is, and it is said."""

import hashlib
import io
import json
from collections import Counter
from typing import Any

import pytest

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, Category, HashValue
from iii_client.publisher import ListEntry
from iii_client.publisher.bad_rows import BadRows
from iii_client.publisher.json_stream import MAX_VALUE
from iii_client.publisher.vics import read_vics

CONTEXT = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"


def digests(name: str) -> dict[str, str]:
    return {
        "MD5": hashlib.md5(name.encode()).hexdigest().upper(),
        "SHA1": hashlib.sha1(name.encode()).hexdigest().upper(),
    }


def medium(name: str, category: Any = 1, **more: Any) -> dict[str, Any]:
    return {"MediaID": 7, "Category": category, **digests(name), "IsPrecategorized": "false", **more}


def media_file(*media: Any, context: str = CONTEXT) -> str:
    return json.dumps({"@odata.context": context, "value": list(media)})


def read(text: str, **options: Any) -> list[ListEntry]:
    defaults = {"list_name": "list", "source": "body", "codes": {"1", "2"}}
    return list(read_vics(io.StringIO(text), **(defaults | options)))


def test_a_medium_is_an_entry_a_digest_with_its_category_linked_as_one_picture() -> None:
    first, second = read(media_file(medium("a", 2)))
    assert (first.hash.algorithm, second.hash.algorithm) == (Algorithm.MD5, Algorithm.SHA1)
    assert first.hash.hex == hashlib.md5(b"a").hexdigest()
    assert first.categories == (Category(scheme="vics-us", code="2", source="body"),)
    assert first.item == second.item != ""
    assert (first.list_name, first.source) == ("list", "body")


def test_what_is_not_asked_for_is_passed_over_and_counted() -> None:
    """Such files hold harmless pictures: category 0 is not pertinent."""
    passed_over: Counter[str] = Counter()
    media = [medium("a", 0), medium("b", 3), medium("c", None), medium("d", 1), {"Category": 1}]
    entries = read(media_file(*media, {"Category": 1, "PhotoDNA": "AAAA"}), passed_over=passed_over)
    assert {entry.hash.hex for entry in entries} == {text.lower() for text in digests("d").values()}
    assert passed_over == {
        "category 0": 1,
        "category 3": 1,
        "no category": 1,
        "no MD5, SHA-1 or SHA-256": 2,
        "hash of PhotoDNA": 1,
    }


def test_a_case_lists_its_media_too() -> None:
    case = {"CaseID": "1", "Tags": ["]", "}"], "Media": [medium("a"), medium("b")], "More": {"x": []}}
    text = json.dumps({"@odata.context": CONTEXT.replace("#Media", "#Cases"), "value": [case, case]})
    assert len({entry.hash for entry in read(text)}) == 4


def test_the_older_form_names_no_country_so_somebody_must() -> None:
    text = json.dumps(
        {
            "odata.metadata": "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media",
            "value": [medium("a")],
        }
    )
    with pytest.raises(ConfigurationError, match="which country"):
        read(text)
    assert read(text, scheme="vics-uk")[0].categories[0].scheme == "vics-uk"


def test_other_hashes_are_taken_when_they_are_digests() -> None:
    sha256 = hashlib.sha256(b"a").hexdigest()
    others = [
        {"HashName": "SHA256", "HashValue": sha256},
        {"HashName": "SHA-1", "HashValue": digests("a")["SHA1"]},
    ]
    others.append({"HashName": "PhotoDNA", "HashValue": "AAAA"})
    passed_over: Counter[str] = Counter()
    entries = read(media_file(medium("a", AlternativeHashes=others)), passed_over=passed_over)
    assert [entry.hash.algorithm for entry in entries] == [Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256]
    assert entries[-1].hash == HashValue.from_hex(Algorithm.SHA256, sha256)
    assert passed_over == {"hash of another algorithm": 1}


BAD = {
    "no object": ("x", "medium 2, medium"),
    "a short digest": (medium("x", MD5="ABC"), "medium 2, MD5"),
    "a digest that is a number": (medium("x", SHA1=12), "medium 2, SHA1"),
    "a category that is none": (medium("x", [1]), "medium 2, Category"),
    "a category that is true": (medium("x", True), "medium 2, Category"),
    "other hashes that are none": (medium("x", AlternativeHashes="x"), "medium 2, AlternativeHashes"),
    "other hashes without a name": (medium("x", AlternativeHashes=[{}]), "medium 2, AlternativeHashes"),
    "too many other hashes": (
        medium("x", AlternativeHashes=[{"HashName": "x"}] * 65),
        "medium 2, AlternativeHashes",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_medium_is_named_refused_or_skipped_and_never_shown(fault: str) -> None:
    bad, place = BAD[fault]
    text = media_file(medium("a"), bad, medium("b"))
    with pytest.raises(ConfigurationError, match=place) as caught:
        read(text)
    assert digests("x")["MD5"][:8] not in str(caught.value)
    bad_rows = BadRows()
    assert len(read(text, on_bad_row=bad_rows)) == 4
    assert (bad_rows.count, bad_rows.first[0].place) == (1, place)


MALFORMED = {
    "nothing": "",
    "no object": "[]",
    "no value": json.dumps({"@odata.context": CONTEXT}),
    "cut off": media_file(medium("a"))[:-3],
    "more behind it": media_file() + "{}",
    "no comma": media_file(medium("a"), medium("b")).replace("}, {", "} {"),
    "a key twice": media_file(medium("a")).replace('"MediaID": 7', '"MD5": "x"'),
    "a number that is none": media_file(medium("a")).replace("7", "NaN"),
    "an endless text": media_file(medium("x" * 10, Tags="x" * (MAX_VALUE + 1))),
    "endless nesting": '{"value": ' + "[" * 200_000,
    "no model": media_file(medium("a"), context="http://example.org"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_file_that_is_no_such_list_is_refused(fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(MALFORMED[fault])
    assert caught.value.hint
    assert digests("a")["MD5"][:8] not in f"{caught.value} {caught.value.hint}"


def test_a_large_file_is_read_piece_by_piece() -> None:
    count = 30_000
    text = media_file(*(medium(str(n), Tags="ß" * 400) for n in range(count)))
    assert len(text) > 16 * MAX_VALUE
    assert sum(1 for _ in read(text)) == 2 * count
