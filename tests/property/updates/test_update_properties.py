"""For any damage to what is kept or signed: a named error, or exactly what was meant."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iii_client.errors import FilterFormatError, GateError, LengthOrHashError, NoFilterError
from iii_client.filters.near_segment import CONVENTIONS, NearHeader
from iii_client.filters.ring_chain import NearParameters
from iii_client.model import Algorithm, HashValue, NearInfo, Release, ReleaseId, SectionInfo
from iii_client.updates import FilterStore
from iii_client.updates.signed_base import SignedBase
from iii_client.updates.signed_delta import SignedDelta, delta_path, delta_sequences
from iii_client.updates.signed_near import NearTarget, SignedSegment

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
sections = st.builds(
    SectionInfo,
    name=st.text(min_size=1, max_size=16),
    count=st.integers(0, 1 << 40),
    capacity=st.integers(1, 1 << 40),
    error_rate=st.floats(0.0, 1.0, exclude_min=True, exclude_max=True),
    size_bytes=st.integers(1, 1 << 40),
)
section_rows = st.lists(sections, min_size=1, max_size=4).map(tuple)
releases = st.builds(ReleaseId, epoch=st.integers(1, 1 << 40), sequence=st.integers(0, 1 << 40))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
canaries = st.builds(HashValue, algorithm=st.just(Algorithm.MD5), value=st.binary(min_size=16, max_size=16))
near_rows = st.lists(
    st.builds(
        NearInfo,
        algorithm=st.sampled_from(CONVENTIONS),
        number=st.integers(1, 1 << 40),
        count=st.integers(1, 1 << 40),
        size_bytes=st.integers(1, 1 << 40),
        practice=st.booleans(),
        sha256=digests,
    ),
    max_size=4,
).map(tuple)
near_targets = st.lists(
    st.builds(NearTarget, path=st.text(max_size=20), sha256=digests, size_bytes=st.integers(1, 1 << 40)),
    max_size=4,
    unique_by=lambda target: target.path,
).map(tuple)
withdrawals = st.sets(st.binary(min_size=32, max_size=32), max_size=4).map(sorted).map(tuple)
bases = st.builds(
    SignedBase,
    release=releases,
    sections=section_rows,
    sha256=digests,
    max_fill_permille=st.integers(1, 1000),
    canaries=st.lists(canaries, min_size=1, max_size=3).map(tuple),
    near=near_targets,
    withdrawn=withdrawals,
)
BASE = SignedBase(
    release=ReleaseId(epoch=1, sequence=0),
    sections=(SectionInfo(name="md5", count=0, capacity=1, error_rate=0.5, size_bytes=41),),
    sha256="00" * 32,
    canaries=(HashValue(algorithm=Algorithm.MD5, value=bytes(16)),),
    near=(NearTarget(path="near/pdq/1.near", sha256="00" * 32, size_bytes=1),),
    withdrawn=(bytes(32),),
)
SEGMENT = SignedSegment(
    header=NearHeader(
        number=1,
        algorithm=Algorithm.PDQ,
        count=3,
        tier1_keys=24,
        tier2_keys=24,
        parameters=NearParameters(),
        practice=True,
    ),
    sha256="00" * 32,
)


@given(bases)
def test_what_is_signed_about_a_base_survives_json(base: SignedBase) -> None:
    assert SignedBase.from_custom(json.loads(json.dumps(base.to_custom()))) == base


@given(field=st.sampled_from(sorted(BASE.to_custom())), value=json_values, deep=st.booleans())
def test_a_signed_description_is_read_or_refused_by_name(field: str, value: Any, deep: bool) -> None:
    custom = BASE.to_custom()
    if deep and isinstance(custom[field], list) and isinstance(custom[field][0], dict):
        row = custom[field][0]
        row[min(row)] = value
    else:
        custom[field] = value
    with contextlib.suppress(GateError):
        SignedBase.from_custom(custom)
    with contextlib.suppress(GateError):
        SignedBase.from_custom(value)


@given(field=st.sampled_from(sorted(SEGMENT.to_custom())), value=json_values, deep=st.booleans())
def test_a_signed_segment_is_read_or_refused_by_name(field: str, value: Any, deep: bool) -> None:
    custom = SEGMENT.to_custom()
    assert SignedSegment.from_custom(json.loads(json.dumps(custom))) == SEGMENT
    if deep:
        custom["parameters"]["probes"] = value
    else:
        custom[field] = value
    with contextlib.suppress(GateError):
        SignedSegment.from_custom(custom)
    with contextlib.suppress(GateError):
        SignedSegment.from_custom(value)


@given(release=releases.filter(lambda r: r.sequence > 0), sha256=digests, value=json_values)
def test_a_signed_delta_is_read_as_written_or_refused_by_name(
    release: ReleaseId, sha256: str, value: Any
) -> None:
    signed = SignedDelta(release=release, result_sha256=sha256)
    assert SignedDelta.from_custom(json.loads(json.dumps(signed.to_custom()))) == signed
    for name in signed.to_custom():
        with contextlib.suppress(GateError):
            SignedDelta.from_custom(signed.to_custom() | {name: value})
    with contextlib.suppress(GateError):
        SignedDelta.from_custom(value)


@given(
    epoch=st.integers(1, 9_999_999_999),
    sequences=st.sets(st.integers(1, 999_999), max_size=9),
    others=st.lists(st.text(max_size=30), max_size=5),
)
def test_deltas_are_found_among_any_paths(epoch: int, sequences: set[int], others: list[str]) -> None:
    paths = [delta_path(ReleaseId(epoch=epoch, sequence=sequence)) for sequence in sequences]
    paths += [delta_path(ReleaseId(epoch=epoch + 1, sequence=1)), f"delta/{epoch}/1.delta", *others]
    assert delta_sequences(paths, epoch) == sorted(sequences)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    release=releases,
    rows=section_rows,
    near=near_rows,
    withdrawn=withdrawals,
    sha256=digests,
    size=st.integers(1, 1 << 40),
    data=st.data(),
)
def test_a_pointer_is_read_as_written_and_any_damage_is_named(
    tmp_path: Path,
    release: ReleaseId,
    rows: tuple[SectionInfo, ...],
    near: tuple[NearInfo, ...],
    withdrawn: tuple[bytes, ...],
    sha256: str,
    size: int,
    data: st.DataObject,
) -> None:
    written = Release(
        id=release,
        sections=rows,
        size_bytes=size,
        sha256=sha256,
        signed_at=datetime(2030, 1, 1, tzinfo=UTC),
        expires_at=datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=7),
        near=near,
        withdrawn=withdrawn,
    )
    store = FilterStore(tmp_path)
    with store.lock():
        (store.downloads_dir / "file").write_bytes(b"x")
        store.install(store.downloads_dir / "file", written)
    assert store.installed() == written
    pointer = tmp_path / "filter" / "current"
    content = bytearray(pointer.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    pointer.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for ask in (store.installed, store.snapshot, store.verify):
        with contextlib.suppress(FilterFormatError, NoFilterError, LengthOrHashError):
            ask()
