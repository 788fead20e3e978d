"""Fixtures of pytest, found through the entry point `pytest11`; each name begins with `iii_`.

| fixture | is |
|---|---|
| `iii_practice_service` | a running practice service (`Sandbox`), one a session |
| `iii_env` | `III_*` variables that point at it, set for the test, with the filter and records of its own |
| `iii_shadow` | the same in shadow mode |
| `iii_service_down` | nobody listens at the confirming service's address, for the test |
| `iii_listed_picture` | the shipped test picture: refused everywhere |
| `iii_known_picture` | a picture that the service lists: blocked |
| `iii_near_copy` | the same, smaller and encoded anew: quarantined |
| `iii_innocent_picture` | not listed: allowed, and nothing leaves |
| `iii_broken_picture` | cannot be decoded: unscannable, quarantined |

Build your application inside the test, after `iii_env`: a scanner keeps the settings that it was built with.

Nothing heavy is loaded before a fixture is asked for: every run of pytest imports this file.
"""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from iii_client.sandbox import Sandbox
    from iii_client.testing.pictures import PracticePicture

#: Category of the known picture: one that may be blocked under the default policy.
_CATEGORY = ("interpol-baseline", "1")


@pytest.fixture(scope="session")
def iii_practice_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A running practice service that lists the known picture. List more, and `publish`, before `iii_env`."""
    from iii_client.config import Config
    from iii_client.sandbox import Sandbox
    from iii_client.testing.pictures import known_picture
    from iii_client.updates import Updater

    folder = tmp_path_factory.mktemp("iii-practice")
    picture = folder / "known.png"
    picture.write_bytes(known_picture().data)
    with Sandbox.open(folder / "service") as service:
        service.add_pictures([picture], categories=[_CATEGORY])
        service.publish()
        service.start()
        config = Config.from_env(service.env)
        Updater(config.filter, config.state_dir).update()
        yield service


@pytest.fixture
def iii_env(iii_practice_service: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables, set for this test; the filter is installed in a state directory of the test's own."""
    import os
    from pathlib import Path

    env = dict(iii_practice_service.env)
    state = tmp_path / "iii-state"
    shutil.copytree(Path(env["III_STATE_DIR"]), state, ignore=shutil.ignore_patterns("*.db*", "*.lock"))
    env["III_STATE_DIR"] = str(state)
    # What the developer's own shell says must not decide about a test.
    for name in [name for name in os.environ if name.startswith("III_") and not name.startswith("III_TEST_")]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env


@pytest.fixture
def iii_shadow(iii_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same in shadow mode: everything is allowed, and recorded as it would have been ruled."""
    iii_env["III_MODE"] = "shadow"
    monkeypatch.setenv("III_MODE", "shadow")
    return iii_env


@pytest.fixture
def iii_service_down(iii_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The same with nobody at the confirming service's address; the filter is there."""
    with socket.socket() as taken:
        # Bound and not listening: refused at once, and nobody else can come to listen there meanwhile.
        taken.bind(("127.0.0.1", 0))
        iii_env["III_SERVICE_URL"] = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("III_SERVICE_URL", iii_env["III_SERVICE_URL"])
        yield iii_env


@pytest.fixture
def iii_listed_picture() -> PracticePicture:
    """The shipped test picture."""
    from iii_client.testing.pictures import listed_picture

    return listed_picture()


@pytest.fixture
def iii_known_picture() -> PracticePicture:
    """A picture that the practice service lists."""
    from iii_client.testing.pictures import known_picture

    return known_picture()


@pytest.fixture
def iii_near_copy() -> PracticePicture:
    """The known picture, smaller and encoded anew."""
    from iii_client.testing.pictures import near_copy

    return near_copy()


@pytest.fixture
def iii_innocent_picture() -> PracticePicture:
    """A picture that nobody listed."""
    from iii_client.testing.pictures import innocent_picture

    return innocent_picture()


@pytest.fixture
def iii_broken_picture() -> PracticePicture:
    """A picture that cannot be decoded."""
    from iii_client.testing.pictures import broken_picture

    return broken_picture()
