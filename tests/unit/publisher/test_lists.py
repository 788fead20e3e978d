"""The CSV form of a list: what is written is read, and a fault is named by line and column."""

import io

import pytest

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, Category, HashValue
from iii_client.publisher import ListEntry, read_csv, write_csv
from iii_client.publisher.bad_rows import BadRows

HEADER = "algorithm,value,quality,list,source,scheme,code\n"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def read(text: str) -> list[ListEntry]:
    return list(read_csv(io.StringIO(text, newline="")))


def test_a_row_is_an_entry() -> None:
    (entry,) = read(HEADER + f"md5,{MD5.upper()},100,list a,body b,scheme,1\n")
    assert entry == ListEntry(
        hash=HashValue.from_hex(Algorithm.MD5, MD5),
        quality=100,
        list_name="list a",
        source="body b",
        categories=(Category(scheme="scheme", code="1", source="body b"),),
    )


def test_a_hash_without_a_category_has_none() -> None:
    (entry,) = read(HEADER + f"pdq,{'ab' * 32},73,list,body,,\n")
    assert (entry.quality, entry.categories) == (73, ())


def test_rows_that_differ_in_the_category_alone_are_one_entry() -> None:
    entries = read(
        HEADER
        + f"md5,{MD5},100,list,body,scheme,1\nmd5,{MD5},100,list,body,scheme,2\n"
        + f"md5,{MD5},100,list,another body,scheme,1\n"
    )
    assert [[category.code for category in entry.categories] for entry in entries] == [["1", "2"], ["1"]]


def test_a_file_from_a_spreadsheet_is_read() -> None:
    assert len(read((HEADER + f'md5,"{MD5}",100,"a, b",body,,\n').replace("\n", "\r\n"))) == 1


FAULTS = {
    "no header": (f"md5,{MD5},100,list,body,,\n", 1, "header"),
    "nothing at all": ("", 1, "header"),
    "too few columns": (HEADER + f"md5,{MD5},100,list,body\n", 2, "line"),
    "an empty line": (HEADER + "\n", 2, "line"),
    "an unknown algorithm": (HEADER + f"md4,{MD5},100,list,body,,\n", 2, "algorithm"),
    "a short value": (HEADER + f"md5,{MD5[:-1]},100,list,body,,\n", 2, "value"),
    "a value that is not hexadecimal": (HEADER + f"md5,{'x' * 32},100,list,body,,\n", 2, "value"),
    "a quality above 100": (HEADER + f"pdq,{'ab' * 32},101,list,body,,\n", 2, "quality"),
    "a negative quality": (HEADER + f"pdq,{'ab' * 32},-1,list,body,,\n", 2, "quality"),
    "a quality in other digits": (HEADER + f"pdq,{'ab' * 32},\u0663,list,body,,\n", 2, "quality"),
    "a digest of poor quality": (HEADER + f"md5,{MD5},99,list,body,,\n", 2, "quality"),
    "no list": (HEADER + f"md5,{MD5},100,,body,,\n", 2, "list"),
    "no source": (HEADER + f"md5,{MD5},100,list,,,\n", 2, "source"),
    "a padded source": (HEADER + f"md5,{MD5},100,list, body,,\n", 2, "source"),
    "a source with a control character": (HEADER + f"md5,{MD5},100,list,bo\x1bdy,,\n", 2, "source"),
    "a code without a scheme": (HEADER + f"md5,{MD5},100,list,body,,1\n", 2, "scheme"),
    "a scheme without a code": (HEADER + f"md5,{MD5},100,list,body,scheme,\n", 2, "code"),
    "an endless line": (HEADER + f"md5,{MD5},100,list,body,," + "x" * 5000, 2, "line"),
    "an endless name": (HEADER + f"md5,{MD5},100,{'x' * 201},body,,\n", 2, "list"),
    "an open quotation": (HEADER + f'md5,"{MD5},100,list,body,,\n', 2, "quoting"),
    "a later line": (HEADER + f"md5,{MD5},100,list,body,,\n" * 3 + "md5\n", 5, "line"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_by_line_and_column_and_never_shows_the_hash(fault: str) -> None:
    text, line, column = FAULTS[fault]
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert f"line {line}, {column} " in str(caught.value)
    assert MD5[:16] not in str(caught.value)
    assert caught.value.hint


def test_bytes_that_are_not_utf_8_are_a_named_fault() -> None:
    file = io.TextIOWrapper(
        io.BytesIO(HEADER.encode() + f"md5,{MD5},100,l\xe9st,body,,\n".encode("latin-1")), "utf-8", newline=""
    )
    with pytest.raises(ConfigurationError, match="UTF-8"):
        list(read_csv(file))


def test_an_entry_refuses_what_the_form_cannot_say() -> None:
    digest = HashValue.from_hex(Algorithm.MD5, MD5)
    with pytest.raises(ValueError, match="quality"):
        ListEntry(hash=digest, quality=50, list_name="list", source="body")
    with pytest.raises(ValueError, match="quality"):
        ListEntry(hash=digest, quality=101, list_name="list", source="body")
    foreign = Category(scheme="s", code="1", source="another")
    with pytest.raises(ValueError, match="source"):
        ListEntry(hash=digest, quality=100, list_name="list", source="body", categories=(foreign,))


def test_hashes_of_one_picture_name_one_item() -> None:
    text = (
        HEADER.replace("code\n", "code,item\n")
        + f"md5,{MD5},100,list,body,,,7\nsha1,{'0' * 40},100,list,body,,,\n"
    )
    assert [entry.item for entry in read(text)] == ["7", ""]


def test_a_byte_order_mark_does_not_hide_the_header() -> None:
    assert len(read("\ufeff" + HEADER + f"md5,{MD5},100,list,body,,\n")) == 1


def test_bad_rows_can_be_counted_and_skipped_and_are_never_shown() -> None:
    bad_rows = BadRows()
    text = HEADER + f"md5,{MD5},100,list,body,,\nmd5,{MD5[:-1]},100,list,body,,\nmd4,x,100,l,b,,\n" * 15
    entries = list(read_csv(io.StringIO(text, newline=""), on_bad_row=bad_rows))
    assert len(entries) == 1, "rows that follow each other and say the same are one entry"
    assert bad_rows.count == 30
    assert len(bad_rows.first) == 20
    assert str(bad_rows.first[0]) == "line 3, value md5 takes 32 hexadecimal digits"
    with pytest.raises(ConfigurationError, match="30 bad rows, nothing was added: line 3, value") as caught:
        bad_rows.refuse_if_any()
    assert "and 10 more" in str(caught.value)
    assert MD5[:8] not in str(caught.value)


def test_no_bad_rows_refuse_nothing() -> None:
    BadRows().refuse_if_any()


def test_reading_is_lazy() -> None:
    entries = read_csv(
        io.StringIO(HEADER + f"md5,{MD5},100,list,body,,\nsha1,{'0' * 40},100,list,body,,\nbad\n")
    )
    assert next(entries).hash.algorithm is Algorithm.MD5


def test_what_is_written_looks_as_documented() -> None:
    file = io.StringIO()
    entry = ListEntry(
        hash=HashValue.from_hex(Algorithm.MD5, MD5),
        quality=100,
        list_name="list",
        source="body",
        categories=tuple(Category(scheme="s", code=code, source="body") for code in "12"),
    )
    write_csv([entry], file)
    assert file.getvalue() == HEADER + f"md5,{MD5},100,list,body,s,1\nmd5,{MD5},100,list,body,s,2\n"
