"""Whatever is asked is answered under its own id, and whatever comes back is a reply or a named error."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iii_client.errors import WireFormatError
from iii_client.model import Algorithm, HashValue, Listed, NotListed, Unanswered
from iii_client.service.wire_v2 import (
    MAX_CACHE_S,
    MAX_HASHES_PER_CALL,
    PADDING_BYTES,
    build_confirm,
    parse_confirm,
)


def hash_values() -> st.SearchStrategy[HashValue]:
    return st.sampled_from(list(Algorithm)).flatmap(
        lambda algorithm: st.binary(
            min_size=algorithm.width_bits // 8, max_size=algorithm.width_bits // 8
        ).map(lambda value: HashValue(algorithm=algorithm, value=value))
    )


# A small alphabet: the whole of Unicode takes seconds to set up.
TEXTS = st.text(alphabet="abé\x00\x1b\ud800", max_size=8)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)

PDQ = HashValue(algorithm=Algorithm.PDQ, value=bytes(32))


@given(st.lists(hash_values(), min_size=1, max_size=MAX_HASHES_PER_CALL))
def test_a_request_reads_back_as_what_was_asked(hashes: list[HashValue]) -> None:
    ids = [f"id-{i}" for i in range(len(hashes))]
    body = build_confirm(hashes, ids).body
    assert len(body) % PADDING_BYTES == 0
    asked = json.loads(body)["hashes"]
    assert [HashValue.from_hex(Algorithm(a["algorithm"]), a["value"]) for a in asked] == hashes
    assert [a["id"] for a in asked] == ids


@given(st.lists(hash_values(), min_size=1, max_size=20, unique=True), st.randoms(), st.data())
def test_answers_come_back_aligned_from_any_order(
    hashes: list[HashValue], random: Any, data: st.DataObject
) -> None:
    ids = [f"id-{i}" for i in range(len(hashes))]
    truth = data.draw(st.lists(st.booleans(), min_size=len(hashes), max_size=len(hashes)))
    answers = [
        {
            "id": id_,
            "listed": is_listed,
            "matches": [{"algorithm": str(value.algorithm), "distance_bits": 0}] if is_listed else [],
        }
        for id_, value, is_listed in zip(ids, hashes, truth, strict=True)
    ]
    random.shuffle(answers)
    body = json.dumps({"confirm_id": "c", "answers": answers}).encode()
    parsed = parse_confirm(body, hashes, ids).answers
    assert [answer.hash for answer in parsed] == hashes
    assert [isinstance(answer, Listed) for answer in parsed] == truth


@given(st.dictionaries(st.sampled_from(["listed", "matches", "withdrawn", "cache_s", "error", "id"]), JSON))
def test_an_answer_of_any_shape_is_an_answer_within_the_caps_or_an_error(fields: dict[str, Any]) -> None:
    body = json.dumps({"confirm_id": "c", "answers": [{"id": "a", **fields}]}).encode()
    try:
        (answer,) = parse_confirm(body, [PDQ], ["a"]).answers
    except WireFormatError:
        return
    assert answer.hash == PDQ
    if isinstance(answer, Listed):
        assert answer.matches
        assert all(0 <= match.distance_bits <= 256 for match in answer.matches)
    if not isinstance(answer, Unanswered):
        assert isinstance(answer, (Listed, NotListed))
        assert 0 <= answer.cache_s <= MAX_CACHE_S
