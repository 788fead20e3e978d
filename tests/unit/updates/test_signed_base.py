"""What is signed about a base: no fractions, strict where it is known, open where it is not."""

from typing import Any

import pytest

from iii_client.errors import GateError
from iii_client.model import Algorithm, HashValue, ReleaseId, SectionInfo
from iii_client.updates.signed_base import SignedBase, base_path, newest_base

BASE = SignedBase(
    release=ReleaseId(epoch=3, sequence=1),
    sections=(SectionInfo(name="md5", count=1, capacity=2, error_rate=1e-6, size_bytes=50),),
    sha256="0f" * 32,
    canaries=(HashValue(algorithm=Algorithm.MD5, value=bytes(16)),),
)


def test_what_is_signed_is_read() -> None:
    assert SignedBase.from_custom(BASE.to_custom()) == BASE


def test_nothing_signed_is_a_fraction() -> None:
    def fractions(tree: Any) -> bool:
        if isinstance(tree, dict):
            return any(map(fractions, tree.values()))
        return any(map(fractions, tree)) if isinstance(tree, list) else isinstance(tree, float)

    assert not fractions(BASE.to_custom())


def test_unknown_fields_are_ignored() -> None:
    custom = BASE.to_custom() | {"likes": ["base/1"]}
    custom["sections"][0]["kind_of_list"] = "other"
    assert SignedBase.from_custom(custom) == BASE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", 0),
        ("epoch", True),
        ("epoch", 1.0),
        ("epoch", "3"),
        ("epoch", 1 << 63),
        ("sequence", -1),
        ("sha256", "0F" * 32),
        ("sha256", "0f" * 31),
        ("sha256", 7),
        ("max_fill_permille", 0),
        ("sections", []),
        ("sections", [{}] * 17),
        ("sections", {"md5": 1}),
        ("canaries", []),
        ("canaries", [{"algorithm": "md4", "value": "00" * 16}]),
        ("canaries", [{"algorithm": "md5", "value": "00"}]),
        ("canaries", [7]),
    ],
)
def test_nonsense_in_a_known_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(GateError):
        SignedBase.from_custom(BASE.to_custom() | {field: value})


@pytest.mark.parametrize("error_rate", ["0", "1", "nan", "inf", "-0.1", "x", "1e-6" * 100, 1])
def test_an_error_rate_that_is_none_is_refused(error_rate: object) -> None:
    custom = BASE.to_custom()
    custom["sections"][0]["error_rate"] = error_rate
    with pytest.raises(GateError):
        SignedBase.from_custom(custom)


@pytest.mark.parametrize("custom", [None, [], "text", 7, {}])
def test_no_description_is_refused(custom: object) -> None:
    with pytest.raises(GateError):
        SignedBase.from_custom(custom)


def test_the_newest_base_is_the_one_of_the_highest_epoch() -> None:
    paths = [base_path(9), base_path(10), "base/11/other.bin", "base/012/filter.bin", "x/base/99/filter.bin"]
    assert newest_base(paths) == 10
    assert newest_base(["base/0/filter.bin", "delta/1/2"]) == 0
