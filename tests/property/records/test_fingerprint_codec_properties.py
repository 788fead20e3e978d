"""Any fingerprint comes back from its stored form, and has only one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from iii_client.errors import RecordError
from iii_client.model import (
    DIGEST_ALGORITHMS,
    PERCEPTUAL_ALGORITHMS,
    Algorithm,
    Fingerprint,
    Frame,
    HashValue,
    PerceptualHash,
    Reason,
    Skipped,
    pack_coefficients,
)
from iii_client.records.fingerprint_codec import decode_fingerprint, encode_fingerprint

NUMBERS = st.integers(0, (1 << 63) - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
REASONS = st.sampled_from(list(Reason))
COEFFICIENTS = st.tuples(st.integers(0, 2**32), st.floats(-100, 100)).map(
    lambda drawn: pack_coefficients(
        [((drawn[0] * (n + 1)) % 4001 - 2000) / 7 for n in range(256)], median=drawn[1]
    )
)


def digests(algorithm: Algorithm) -> st.SearchStrategy[HashValue]:
    return st.binary(min_size=algorithm.width_bits // 8, max_size=algorithm.width_bits // 8).map(
        lambda value: HashValue(algorithm=algorithm, value=value)
    )


def perceptual(algorithm: Algorithm) -> st.SearchStrategy[PerceptualHash]:
    return st.builds(
        PerceptualHash,
        algorithm=st.just(algorithm),
        value=st.binary(min_size=algorithm.width_bits // 8, max_size=algorithm.width_bits // 8),
        quality=st.integers(0, 100),
        coefficients=st.just(b"") | COEFFICIENTS,
        frame=NUMBERS,
        gates=st.lists(REASONS, max_size=3).map(tuple),
        trimmed=st.booleans(),
    )


FINGERPRINTS = st.builds(
    Fingerprint,
    recipe=TEXTS,
    size_bytes=NUMBERS,
    kind=TEXTS,
    digests=st.lists(st.sampled_from(DIGEST_ALGORITHMS).flatmap(digests), max_size=4).map(tuple),
    perceptual=st.lists(st.sampled_from(PERCEPTUAL_ALGORITHMS).flatmap(perceptual), max_size=4).map(tuple),
    frames=st.lists(
        st.builds(Frame, index=NUMBERS, width_px=NUMBERS, height_px=NUMBERS, reduction=NUMBERS), max_size=3
    ).map(tuple),
    skipped=st.lists(st.builds(Skipped, what=TEXTS, reason=REASONS, detail=TEXTS), max_size=3).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(FINGERPRINTS)
def test_every_fingerprint_comes_back(fingerprint: Fingerprint) -> None:
    assert decode_fingerprint(encode_fingerprint(fingerprint)) == fingerprint


@settings(max_examples=300, deadline=None)
@given(FINGERPRINTS, st.data())
def test_a_damaged_row_is_refused_or_is_the_one_form_of_another_fingerprint(
    fingerprint: Fingerprint, data: st.DataObject
) -> None:
    stored = bytearray(encode_fingerprint(fingerprint))
    for _ in range(data.draw(st.integers(1, 3))):
        stored[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    check(bytes(stored[: data.draw(st.integers(max(0, len(stored) - 5), len(stored)))]))


@given(st.binary(max_size=300).map(lambda tail: b"\x01" + tail))
def test_random_bytes_are_refused_or_are_the_one_form_of_a_fingerprint(stored: bytes) -> None:
    check(stored)


def check(stored: bytes) -> None:
    try:
        found = decode_fingerprint(stored)
    except RecordError:
        return
    assert encode_fingerprint(found) == stored
