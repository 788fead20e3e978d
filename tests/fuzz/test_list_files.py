"""Whatever a list file holds, reading it ends in entries, bad rows, or a refusal of ours, never otherwise."""

import contextlib
import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iii_client.errors import ConfigurationError
from iii_client.publisher.bad_rows import BadRows
from iii_client.publisher.json_stream import JsonStream
from iii_client.publisher.lists import COLUMNS, ITEM_COLUMN, read_csv, write_csv
from iii_client.publisher.vics import read_vics

CELLS = st.one_of(
    st.sampled_from(
        ["md5", "sha1", "pdq", "100", "0", "", "list", "0cc175b9c0f1b6a831c399e269772661", "ab" * 32]
    ),
    st.text(max_size=12),
)
ROWS = st.lists(st.lists(CELLS, min_size=6, max_size=9), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "value",
                    "Media",
                    "MD5",
                    "SHA1",
                    "Category",
                    "AlternativeHashes",
                    "HashName",
                    "HashValue",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(rows=ROWS, with_item=st.booleans())
def test_rows_are_entries_or_bad_rows(rows: list[list[str]], with_item: bool) -> None:
    header = (*COLUMNS, ITEM_COLUMN) if with_item else COLUMNS
    text = "\n".join([",".join(header), *(",".join(row) for row in rows)])
    bad_rows = BadRows()
    try:
        entries = list(read_csv(io.StringIO(text, newline=""), on_bad_row=bad_rows))
    except ConfigurationError:
        return
    assert len(entries) + bad_rows.count <= text.count("\n") + text.count("\r")
    written = io.StringIO()
    write_csv(entries, written, with_items=True)
    assert list(read_csv(io.StringIO(written.getvalue(), newline=""))) == entries


@given(text=st.text(max_size=300))
def test_any_text_is_refused_or_read(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        list(read_csv(io.StringIO(text, newline=""), on_bad_row=BadRows()))
    with contextlib.suppress(ConfigurationError):
        list(
            read_vics(
                io.StringIO(text), list_name="l", source="s", codes={"1"}, scheme="x", on_bad_row=BadRows()
            )
        )


@given(value=JSON, cases=st.booleans())
def test_any_json_in_the_place_of_media_is_refused_or_read(value: Any, cases: bool) -> None:
    tree = {
        "@odata.context": "ProjectVic/DataModels/2.0.xml/US/$metadata#Cases" if cases else "",
        "value": value,
    }
    try:
        entries = list(
            read_vics(
                io.StringIO(json.dumps(tree)),
                list_name="l",
                source="s",
                codes={"1", "True", "0"},
                scheme="x",
                on_bad_row=BadRows(),
            )
        )
    except ConfigurationError:
        return
    assert all(entry.hash.algorithm.is_digest for entry in entries)


@given(value=JSON, spaces=st.text(" \n\t", max_size=3))
def test_what_is_streamed_is_what_json_says(value: Any, spaces: str) -> None:
    """The slow reference is the standard library."""
    text = (
        spaces
        + json.dumps({"a": value, "b": [value, 1]}, allow_nan=False, default=str).replace(",", f",{spaces}")
        if _is_finite(value)
        else ""
    )
    if not text:
        return
    stream = JsonStream(io.StringIO(text))
    found: dict[str, Any] = {}
    for key in stream.members():
        if key == "b":
            found[key] = [stream.value() for _ in stream.elements()]
        else:
            found[key] = stream.value()
    stream.end()
    assert found == json.loads(text)


def _is_finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
