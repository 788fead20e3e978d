"""The vocabulary keeps its promises: widths, masked reprs, no truth values, order of gravity."""

from datetime import UTC, datetime

import pytest

from iii_client.model import (
    NO_RELEASE,
    Action,
    Algorithm,
    HashValue,
    LateAnswer,
    Outcome,
    ReleaseId,
    UploadContext,
    hamming_distance,
)


def md5(first: int = 0) -> HashValue:
    return HashValue(algorithm=Algorithm.MD5, value=bytes([first]) + bytes(15))


def test_a_hash_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="128 bits"):
        HashValue(algorithm=Algorithm.MD5, value=bytes(20))


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "g" * 32, " " * 32, "0x" + "0" * 30, "٠" * 32])
def test_only_exactly_hexadecimal_digits_are_a_hash(text: str) -> None:
    with pytest.raises(ValueError, match=r"hexa"):
        HashValue.from_hex(Algorithm.MD5, text)


def test_a_repr_never_shows_a_whole_hash() -> None:
    value = HashValue(algorithm=Algorithm.SHA256, value=bytes(range(32)))
    assert value.hex not in repr(value)
    assert value.hex[:8] in repr(value)


def test_a_repr_names_neither_the_uploader_nor_the_file() -> None:
    """It ends up in an error tracker, with the local variables of a traceback."""
    context = UploadContext(route="avatar", uploader="bob@example.org", place="b/7", reference="holiday.jpg")
    assert repr(context) == "UploadContext(route='avatar', stored=False)"
    answer = LateAnswer(
        encounter_id="e",
        case_reference="c",
        reference="holiday.jpg",
        outcome=Outcome.NO_MATCH,
        action=Action.ALLOW,
        ruled=Action.ALLOW,
        previous_action=Action.QUARANTINE,
        rule="no_match",
        reasons=(),
        at=datetime(2026, 11, 24, tzinfo=UTC),
    )
    assert "holiday" not in repr(answer)


def test_distance_counts_differing_bits() -> None:
    assert hamming_distance(md5(0), md5(0)) == 0
    assert hamming_distance(md5(0), md5(0b10101)) == 3


def test_distance_between_algorithms_is_refused() -> None:
    with pytest.raises(ValueError, match="md5"):
        hamming_distance(md5(), HashValue(algorithm=Algorithm.SHA1, value=bytes(20)))


@pytest.mark.parametrize("value", [Outcome.MATCHED, Outcome.NO_MATCH, Action.ALLOW, Action.BLOCK])
def test_an_outcome_or_action_has_no_truth_value(value: Outcome | Action) -> None:
    with pytest.raises(TypeError, match=r"decision\.allowed"):
        bool(value)


def test_gravity_is_ordered_within_a_type_only() -> None:
    assert max(Outcome.NO_MATCH, Outcome.MATCHED, Outcome.UNCONFIRMED) == Outcome.MATCHED
    assert max(Action.QUARANTINE, Action.ALLOW) == Action.QUARANTINE
    with pytest.raises(TypeError):
        _ = Outcome.MATCHED < Action.BLOCK


def test_releases_are_ordered_and_read_back() -> None:
    newer = ReleaseId(epoch=2, sequence=0)
    assert ReleaseId(epoch=1, sequence=9) < newer
    assert ReleaseId.parse(str(newer)) == newer
    assert ReleaseId.parse(str(NO_RELEASE)) == NO_RELEASE
    with pytest.raises(ValueError, match="not a release"):
        ReleaseId.parse("7")
