"""How category schemes relate: versioned tables from one scheme to another. Pure.

A code means nothing without its scheme, and no table makes two schemes one: a mapping adds what a category
corresponds to, says how well, and never replaces what was published.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from iii_client.model.matches import Category


class Relation(StrEnum):
    """How the category mapped from relates to the one mapped to (after SKOS, W3C 2009)."""

    #: The same things are meant.
    SAME = "same"
    #: Whatever is in the first is in the second; not the other way round.
    NARROWER = "narrower"
    #: Whatever is in the second is in the first: a thing in the first may not be in the second.
    BROADER = "broader"
    #: They overlap.
    RELATED = "related"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRow:
    """One code, what it corresponds to, and how well."""

    code: str
    to_code: str
    relation: Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryMapping:
    """One version of a table from one scheme to another.

    Attributes:
        name: of the table; with `version` it names these very rows for ever.
        version: from 1.
        scheme, to_scheme: mapped from and to.
        rows: one a pair of codes.

    Raises:
        ValueError: two rows of one pair, a version under 1, or both schemes the same.
    """

    name: str
    version: int
    scheme: str
    to_scheme: str
    rows: tuple[MappingRow, ...]

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError("versions start at 1")
        if self.scheme == self.to_scheme:
            raise ValueError("a mapping leads from one scheme to another")
        if len({(row.code, row.to_code) for row in self.rows}) != len(self.rows):
            raise ValueError("two rows map one code to one other")

    def apply(self, category: Category) -> tuple[tuple[Category, Relation], ...]:
        """What a category corresponds to, with the source of the original; nothing of another scheme."""
        if category.scheme != self.scheme:
            return ()
        return tuple(
            (Category(scheme=self.to_scheme, code=row.to_code, source=category.source), row.relation)
            for row in self.rows
            if row.code == category.code
        )


def implied_categories(
    categories: Iterable[Category], mappings: Iterable[CategoryMapping]
) -> tuple[Category, ...]:
    """Categories that a thing is certainly in by these tables (`same` and `narrower`), without the originals.

    One step only: a chain of tables would add up what each leaves open.
    """
    originals = tuple(categories)
    implied = (
        found
        for mapping in mappings
        for category in originals
        for found, relation in mapping.apply(category)
        if relation in {Relation.SAME, Relation.NARROWER}
    )
    return tuple(dict.fromkeys(category for category in implied if category not in originals))
