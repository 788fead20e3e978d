"""Real photographs and real databases for every test, from what is installed; nothing of it is committed."""

import importlib.util
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from PIL import Image

from iii_client.model import (
    ANONYMOUS,
    Action,
    Algorithm,
    Candidate,
    Category,
    Decision,
    Fingerprint,
    HashValue,
    Match,
    Mode,
    Outcome,
    Reason,
    Receipt,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.records import SqliteStore, StateRecorder, Store
from iii_client.records.pseudonyms import PseudonymKey

# How long an example takes says something about the machine and its other work, and nothing about the code.
settings.register_profile("no deadlines", deadline=None)
settings.load_profile("no deadlines")

#: scikit-image files that are photographs of enough detail; drawings and text pages are left out.
SKIMAGE_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "moon.png",
    "retina.jpg",
    "rocket.jpg",
)
MAX_SIDE_PX = 800
FORMATS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("jpg", {"quality": 88}),
    ("png", {}),
    ("webp", {"quality": 80}),
    ("jpg", {"quality": 95}),
)


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """Whole photographs: scikit-image's, and Debian's where the machine has them (CI does)."""
    skimage = pytest.importorskip("skimage")
    data = Path(skimage.__file__).parent / "data"
    found = [data / name for name in SKIMAGE_PHOTOGRAPHS if (data / name).exists()]
    found += sorted(Path("/usr/share/backgrounds").glob("*.jpg"))
    for theme in sorted(Path("/usr/share/wallpapers").glob("*/contents/images")):
        # One of each theme: the others show the same in other sizes. JPEG, because the decoder can reduce it.
        found += sorted(theme.glob("*.jpg"), key=lambda path: path.stat().st_size)[-1:]
    return found


@pytest.fixture(scope="session")
def make_pictures(photographs: list[Path]) -> Callable[[Path, int], list[Path]]:
    """Write `count` distinct pictures into a folder: photographs, then tiles of them, in several formats."""

    def make(folder: Path, count: int) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        made: list[Path] = []
        for picture in _pictures_and_tiles(photographs):
            suffix, options = FORMATS[len(made) % len(FORMATS)]
            path = folder / f"holiday-{len(made):03}.{suffix}"
            picture.save(path, **options)
            made.append(path)
            if len(made) == count:
                return made
        raise AssertionError(f"only {len(made)} pictures can be made")

    return make


def _pictures_and_tiles(sources: list[Path]) -> Iterator[Image.Image]:
    """Every photograph once, then 2x2 tiles of each, then 3x3: no two of them show the same."""
    for grid in (1, 2, 3, 4):
        for source in sources:
            with Image.open(source) as image:
                image.draft("RGB", (MAX_SIDE_PX, MAX_SIDE_PX))
                picture = image.convert("RGB")
            picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
            width, height = picture.width // grid, picture.height // grid
            if min(width, height) < 96:
                continue
            for row in range(grid):
                for column in range(grid):
                    left, top = column * width, row * height
                    yield picture.crop((left, top, left + width, top + height))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL: the one that `III_TEST_DATABASE_URL` names, else one started for this session."""
    pytest.importorskip("sqlalchemy", reason="the extra [postgres] is not installed")
    pytest.importorskip("psycopg", reason="the extra [postgres] is not installed")
    if url := os.environ.get("III_TEST_DATABASE_URL"):
        yield url
        return
    server = _load("postgres_server")
    if server.postgres_binaries() is None:
        pytest.skip("Debian's postgresql is not installed")
    with server.running_postgres() as url:
        yield url


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A schema of its own in the PostgreSQL of the session."""
    from sqlalchemy import create_engine, text

    schema = f"test_{secrets.token_hex(6)}"
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield f"{postgres_url}{'&' if '?' in postgres_url else '?'}options=-csearch_path%3D{schema}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty state database of each kind."""
    if request.param == "sqlite":
        opened: Store = SqliteStore(tmp_path / "state.db")
    else:
        from iii_client.records.postgres import PostgresStore

        opened = PostgresStore(request.getfixturevalue("database_url"))
    yield opened
    opened.close()


BASELINE = Category(scheme="interpol-baseline", code="1", source="list-a")


@pytest.fixture
def record(store: Store, tmp_path: Path) -> Callable[..., Receipt]:
    """Record a decision about a synthetic item, as a scanner does; whatever matters may be given."""
    key = PseudonymKey(tmp_path / "encounter.key")

    def make(
        *,
        outcome: Outcome = Outcome.MATCHED,
        action: Action = Action.QUARANTINE,
        rule: str = "matched_exact",
        reasons: tuple[Reason, ...] = (),
        value: bytes = bytes(range(32)),
        algorithm: Algorithm = Algorithm.SHA256,
        category: Category = BASELINE,
        context: UploadContext = ANONYMOUS,
        mode: Mode = Mode.ENFORCE,
        guard: str = "",
        confirm_id: str = "",
        at: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC),
    ) -> Receipt:
        hit = HashValue(algorithm=algorithm, value=value)
        match = Match(
            hash=hit, distance_bits=0, exact=algorithm.is_digest, sources=("list-a",), categories=(category,)
        )
        verdict = Verdict(
            outcome=outcome,
            fingerprint=Fingerprint(recipe="fast-v1", size_bytes=9, kind="png"),
            candidates=() if outcome is Outcome.UNSCANNABLE else (Candidate(hash=hit, section="x"),),
            matches=(match,) if outcome is Outcome.MATCHED else (),
            reasons=reasons,
            release=ReleaseId(epoch=3, sequence=1),
            hashes_sent=1,
            confirm_id=confirm_id,
        )
        shown = action if mode is Mode.ENFORCE else Action.ALLOW
        decision = Decision(action=shown, ruled=action, rule=rule, verdict=verdict, mode=mode, guard=guard)
        return StateRecorder(store, key=key, policy="p1", clock=lambda: at).record(decision, context)

    return make


def _load(name: str) -> Any:
    """A module that lies beside this file: tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
