"""What a release says of its lists."""

from datetime import UTC, datetime

from iii_client.model import Algorithm, Coverage, ListKind, Release, ReleaseId

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def row(name: str, kind: ListKind, *, near: int = 0, source: str = "body") -> Coverage:
    return Coverage(
        list_name=name,
        kind=kind,
        source=source,
        algorithm=Algorithm.PDQ,
        hashes=9,
        near=near,
        waiting=9 - near,
    )


def release(*coverage: Coverage) -> Release:
    return Release(
        id=ReleaseId(epoch=1, sequence=0),
        sections=(),
        size_bytes=1,
        sha256="",
        signed_at=NOW,
        expires_at=NOW,
        coverage=coverage,
    )


def test_the_kind_of_a_list_is_what_the_release_says() -> None:
    signed = release(row("a", ListKind.CHILD_ABUSE), row("a", ListKind.CHILD_ABUSE, source="x"))
    assert signed.kind_of("a") is ListKind.CHILD_ABUSE
    assert signed.kind_of("b") is None
    assert release().kind_of("a") is None


def test_a_list_of_two_kinds_is_of_neither() -> None:
    assert release(row("a", ListKind.INTIMATE), row("a", ListKind.OTHER, source="x")).kind_of("a") is None


def test_a_list_near_matches_when_a_segment_finds_any_of_it() -> None:
    assert row("a", ListKind.OTHER, near=1).can_near_match
    assert not row("a", ListKind.OTHER).can_near_match
