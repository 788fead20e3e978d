"""For any list: reading gives back what was written; for any text: an entry or a named fault."""

import contextlib
import io

from hypothesis import given
from hypothesis import strategies as st

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, Category, HashValue
from iii_client.publisher import ListEntry, read_csv, write_csv

names = (
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
    | st.sampled_from(["a, b", 'say "so"', "two words"])
).filter(lambda name: name.isprintable())


@st.composite
def entries(draw: st.DrawFn) -> ListEntry:
    algorithm = draw(st.sampled_from(Algorithm))
    width = algorithm.width_bits // 8
    source = draw(names)
    codes = draw(st.lists(st.tuples(names, names), unique=True, max_size=3))
    return ListEntry(
        hash=HashValue(algorithm=algorithm, value=draw(st.binary(min_size=width, max_size=width))),
        quality=100 if algorithm.is_digest else draw(st.integers(0, 100)),
        list_name=draw(names),
        source=source,
        categories=tuple(Category(scheme=scheme, code=code, source=source) for scheme, code in codes),
    )


@given(st.lists(entries(), max_size=8, unique_by=lambda entry: entry.hash))
def test_what_is_written_is_read(listed: list[ListEntry]) -> None:
    file = io.StringIO(newline="")
    write_csv(listed, file)
    file.seek(0)
    assert list(read_csv(file)) == listed


@given(st.text(max_size=300))
def test_any_text_is_a_list_or_a_named_fault(text: str) -> None:
    for content in (text, "algorithm,value,quality,list,source,scheme,code\n" + text):
        with contextlib.suppress(ConfigurationError):
            list(read_csv(io.StringIO(content, newline="")))
