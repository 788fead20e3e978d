"""A mapping adds what a category corresponds to, says how well, and never replaces what was published."""

import pytest

from iii_client.model import Category, CategoryMapping, MappingRow, Relation, implied_categories


def category(code: str, *, scheme: str = "one", source: str = "body") -> Category:
    return Category(scheme=scheme, code=code, source=source)


def mapping(*rows: tuple[str, str, Relation]) -> CategoryMapping:
    return CategoryMapping(
        name="one-to-two",
        version=1,
        scheme="one",
        to_scheme="two",
        rows=tuple(MappingRow(code=code, to_code=to, relation=relation) for code, to, relation in rows),
    )


def test_a_category_is_mapped_with_the_source_of_the_original() -> None:
    table = mapping(("1", "A", Relation.SAME), ("1", "B", Relation.RELATED), ("2", "B", Relation.SAME))
    assert table.apply(category("1", source="hotline")) == (
        (category("A", scheme="two", source="hotline"), Relation.SAME),
        (category("B", scheme="two", source="hotline"), Relation.RELATED),
    )


def test_the_same_code_of_another_scheme_means_nothing() -> None:
    assert mapping(("1", "A", Relation.SAME)).apply(category("1", scheme="other")) == ()


@pytest.mark.parametrize(
    ("relation", "is_implied"),
    [
        (Relation.SAME, True),
        (Relation.NARROWER, True),
        (Relation.BROADER, False),
        (Relation.RELATED, False),
    ],
)
def test_only_what_is_certain_is_implied(relation: Relation, is_implied: bool) -> None:
    implied = implied_categories([category("1")], [mapping(("1", "A", relation))])
    assert implied == ((category("A", scheme="two"),) if is_implied else ())


def test_what_was_published_is_not_implied_again_and_nothing_is_implied_twice() -> None:
    table = mapping(("1", "A", Relation.SAME), ("2", "A", Relation.SAME), ("3", "B", Relation.SAME))
    published = [category("1"), category("2"), category("3"), category("B", scheme="two")]
    assert implied_categories(published, [table]) == (category("A", scheme="two"),)


def test_tables_are_not_chained() -> None:
    back = CategoryMapping(
        name="two-to-one",
        version=1,
        scheme="two",
        to_scheme="one",
        rows=(MappingRow(code="A", to_code="9", relation=Relation.SAME),),
    )
    implied = implied_categories([category("1")], [mapping(("1", "A", Relation.SAME)), back])
    assert implied == (category("A", scheme="two"),)


def test_a_table_that_contradicts_itself_is_none() -> None:
    with pytest.raises(ValueError, match="two rows"):
        mapping(("1", "A", Relation.SAME), ("1", "A", Relation.BROADER))
    with pytest.raises(ValueError, match="versions"):
        CategoryMapping(name="n", version=0, scheme="one", to_scheme="two", rows=())
    with pytest.raises(ValueError, match="another"):
        CategoryMapping(name="n", version=1, scheme="one", to_scheme="one", rows=())
