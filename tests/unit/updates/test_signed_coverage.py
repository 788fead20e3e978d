"""Coverage and mappings as signed: what is written is read, what is unknown is harmless, the rest refused."""

import json
from typing import Any

import pytest

from iii_client.model import Algorithm, CategoryMapping, Coverage, ListKind, MappingRow, Relation
from iii_client.updates.signed_coverage import (
    MAX_COVERAGE,
    coverage_from,
    coverage_to_json,
    mapping_from_json,
    mapping_to_json,
    mappings_from,
)

COVERAGE = Coverage(
    list_name="list",
    kind=ListKind.INTIMATE,
    source="body",
    algorithm=Algorithm.PDQ_512,
    hashes=12,
    near=10,
    waiting=1,
)
MAPPING = CategoryMapping(
    name="one-to-two",
    version=3,
    scheme="one",
    to_scheme="two",
    rows=(MappingRow(code="1", to_code="A", relation=Relation.NARROWER),),
)


def signed(*coverage: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(json.dumps({"coverage": list(coverage)}))
    return tree


def test_coverage_is_read_as_written() -> None:
    assert coverage_from(signed(coverage_to_json(COVERAGE)), "coverage") == (COVERAGE,)
    assert coverage_from({}, "coverage") == ()


def test_a_mapping_is_read_as_written() -> None:
    tree = {"mappings": [json.loads(json.dumps(mapping_to_json(MAPPING)))]}
    assert mappings_from(tree, "mappings") == (MAPPING,)
    assert mappings_from({}, "mappings") == ()


def test_what_a_later_publisher_may_say_is_harmless() -> None:
    later = coverage_to_json(COVERAGE)
    rows = coverage_from(signed(later | {"kind": "new", "more": 1}, later | {"algorithm": "new"}), "coverage")
    assert [row.kind for row in rows] == [ListKind.OTHER]
    tree = mapping_to_json(MAPPING)
    tree["rows"][0]["relation"] = "new"
    assert mapping_from_json(tree).rows[0].relation is Relation.RELATED


@pytest.mark.parametrize(
    "wrong",
    [{"hashes": -1}, {"hashes": True}, {"near": "1"}, {"list": 7}, {"source": "x" * 201}, {"kind": None}],
)
def test_a_row_that_is_wrong_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        coverage_from(signed(coverage_to_json(COVERAGE) | wrong), "coverage")


def test_more_than_the_cap_is_refused() -> None:
    with pytest.raises(ValueError, match=str(MAX_COVERAGE)):
        coverage_from(signed(*[coverage_to_json(COVERAGE)] * (MAX_COVERAGE + 1)), "coverage")
    with pytest.raises(ValueError, match="one name"):
        mappings_from({"mappings": [mapping_to_json(MAPPING)] * 2}, "mappings")
