"""What the offline key signs about where a release comes from: coverage, and mappings between schemes.

They ride in the `custom` fields of the base, so a client has them, verified, with the metadata it fetches
anyway. Nothing here decides what the filter finds: a policy may read it, and `filter status` shows it.
"""

from collections.abc import Mapping
from typing import Any

from iii_client.model import Algorithm, CategoryMapping, Coverage, ListKind, MappingRow, Relation
from iii_client.updates.fields import number, rows, rows_if_any, text

#: Rows of coverage in a release: 100 lists with a source and five algorithms each. 60 KB of metadata.
MAX_COVERAGE = 512
#: Tables in a release, and rows of one.
MAX_MAPPINGS = 8
MAX_MAPPING_ROWS = 128

_ALGORITHMS = frozenset(map(str, Algorithm))
_KINDS = frozenset(map(str, ListKind))
_RELATIONS = frozenset(map(str, Relation))


def coverage_to_json(coverage: Coverage) -> dict[str, Any]:
    """One row as it is signed."""
    return {
        "list": coverage.list_name,
        "kind": str(coverage.kind),
        "source": coverage.source,
        "algorithm": str(coverage.algorithm),
        "hashes": coverage.hashes,
        "near": coverage.near,
        "waiting": coverage.waiting,
    }


def coverage_from(tree: Mapping[str, Any], key: str) -> tuple[Coverage, ...]:
    """Read what `coverage_to_json` wrote; none where there is no such field.

    A later publisher may know more: a kind that this version does not know is `other`, and a row of an
    algorithm that it does not know is passed over.

    Raises:
        KeyError, TypeError, ValueError: anything else.
    """
    return tuple(
        Coverage(
            list_name=text(row, "list"),
            kind=_kind(text(row, "kind")),
            source=text(row, "source"),
            algorithm=Algorithm(text(row, "algorithm")),
            hashes=number(row, "hashes", 0),
            near=number(row, "near", 0),
            waiting=number(row, "waiting", 0),
        )
        for row in rows_if_any(tree, key, MAX_COVERAGE)
        if text(row, "algorithm") in _ALGORITHMS
    )


def mapping_to_json(mapping: CategoryMapping) -> dict[str, Any]:
    """One table as it is signed, and as its file is written."""
    return {
        "name": mapping.name,
        "version": mapping.version,
        "from": mapping.scheme,
        "to": mapping.to_scheme,
        "rows": [
            {"code": row.code, "to": row.to_code, "relation": str(row.relation)} for row in mapping.rows
        ],
    }


def mapping_from_json(tree: Any) -> CategoryMapping:
    """Read what `mapping_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: anything else.
    """
    return CategoryMapping(
        name=text(tree, "name"),
        version=number(tree, "version", 1),
        scheme=text(tree, "from"),
        to_scheme=text(tree, "to"),
        rows=tuple(
            MappingRow(
                code=text(row, "code"), to_code=text(row, "to"), relation=_relation(text(row, "relation"))
            )
            for row in rows(tree, "rows", MAX_MAPPING_ROWS)
        ),
    )


def mappings_from(tree: Mapping[str, Any], key: str) -> tuple[CategoryMapping, ...]:
    """The tables of a release; none where there is no such field.

    Raises:
        KeyError, TypeError, ValueError: anything but well-formed tables of distinct names.
    """
    mappings = tuple(map(mapping_from_json, rows_if_any(tree, key, MAX_MAPPINGS)))
    if len({mapping.name for mapping in mappings}) != len(mappings):
        raise ValueError("two mappings of one name")
    return mappings


def _kind(name: str) -> ListKind:
    return ListKind(name) if name in _KINDS else ListKind.OTHER


def _relation(name: str) -> Relation:
    # The weakest one: what is not understood must not put a category into another.
    return Relation(name) if name in _RELATIONS else Relation.RELATED
