"""A real browser uploads to the example site, with the service up and down.

Skipped by name where Debian's chromium and chromium-driver, or selenium, are missing. `III_TEST_SCREENSHOTS`
names a folder for pictures of what the browser showed.
"""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iii_client.sandbox import Sandbox
from iii_client.test_picture import listed_picture_bytes

#: What the page has for a picture that is held.
WAITS = 'class="waits"'

EXAMPLE = Path(__file__).parents[3] / "examples" / "django_site"

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("Debian's chromium and chromium-driver are not installed", allow_module_level=True)

pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not here")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=900,900"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@dataclass
class Served:
    """The example under its own server."""

    url: str
    folder: Path
    env: dict[str, str]

    def manage(self, *arguments: str) -> int:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=EXAMPLE, env=self.env, check=False, timeout=120).returncode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def served(practice: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The example site."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(practice.env["III_STATE_DIR"], folder / "state")
    (folder / "site").mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("III_", "DJANGO_"))}
    env |= practice.env | {
        "III_STATE_DIR": str(folder / "state"),
        "III_SERVICE_TIMEOUT_S": "10",
        "SITE_DATA": str(folder / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    migrated = Served(url="", folder=folder, env=env)
    assert migrated.manage("migrate", "--run-syncdb", "-v", "0") == 0
    yield from _serve(env, folder)


@pytest.fixture
def served_alone(served: Served) -> Iterator[Served]:
    """The same site, served by a process at whose address of the service nobody listens."""
    yield from _serve(served.env | {"III_SERVICE_URL": f"http://127.0.0.1:{free_port()}"}, served.folder)


def _serve(env: dict[str, str], folder: Path) -> Iterator[Served]:
    port = free_port()
    site = Served(url=f"http://127.0.0.1:{port}/", folder=folder, env=env)
    log = (folder / f"web-{port}.log").open("wb")
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    with log, subprocess.Popen(command, cwd=EXAMPLE, env=env, stdout=log, stderr=log) as server:
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(site.url, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield site
        finally:
            server.terminate()


def upload(browser: Any, site: Served, picture: Path) -> str:
    """Choose a picture, press the button, and read the page."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(site.url)
    browser.execute_script("window.isOld = true")
    browser.find_element(By.NAME, "image").send_keys(str(picture))
    browser.find_element(By.NAME, "caption").send_keys(picture.stem)
    browser.find_element(By.TAG_NAME, "button").click()
    WebDriverWait(browser, 60, ignored_exceptions=[WebDriverException]).until(
        lambda driver: driver.execute_script("return !window.isOld && document.readyState === 'complete'")
    )
    return str(browser.find_element(By.TAG_NAME, "main").text)


def photograph(browser: Any, name: str) -> None:
    if folder := os.environ.get("III_TEST_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def shown(browser: Any) -> list[int]:
    """Widths of the pictures that the browser really painted."""
    script = "return [...document.images].map(i => { i.loading = 'eager'; return i.naturalWidth })"
    for _ in range(50):
        widths = [int(width) for width in browser.execute_script(script)]
        if all(widths):
            break
        time.sleep(0.1)
    return widths


def files(site: Served) -> int:
    return sum(1 for path in (site.folder / "site" / "media").rglob("*") if path.is_file())


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_harmless_picture_is_shown_and_listed_ones_are_refused_neutrally(
    browser: Any, served: Served, pictures: Any, tmp_path: Path
) -> None:
    there = files(served)
    said = upload(browser, served, write(tmp_path, "coffee.jpg", pictures.innocent))
    assert "Thank you. Your picture is there." in said
    assert len(shown(browser)) == there + 1
    photograph(browser, "django-stored")
    for name, data in (("test-picture.png", listed_picture_bytes()), ("cat.png", pictures.listed)):
        said = upload(browser, served, write(tmp_path, name, data))
        assert "This file cannot be taken. Reference: " in said
        assert "Questions: abuse@pictures.example." in said
        for word in ("match", "hash", "list", "abuse material", "block"):
            assert word not in said.lower().replace("abuse@pictures.example", "")
        assert len(shown(browser)) == there + 1, "the others stay visible, and the form can be used again"
    photograph(browser, "django-refused")
    assert files(served) == there + 1


def test_a_re_encoded_listed_picture_is_taken_and_shown_to_nobody(
    browser: Any, served: Served, pictures: Any, tmp_path: Path
) -> None:
    with Image.open(io.BytesIO(pictures.listed)) as image:
        smaller = io.BytesIO()
        image.convert("RGB").resize((300, 200)).save(smaller, "JPEG", quality=70)
    there = files(served)
    said = upload(browser, served, write(tmp_path, "re-encoded.jpg", smaller.getvalue()))
    assert "is being checked" in said
    assert len(shown(browser)) == files(served) == there


def test_the_page_is_usable_while_the_service_is_down(
    browser: Any, served_alone: Served, served: Served, pictures: Any, tmp_path: Path
) -> None:
    browser.get(served.url)
    there, waiting = files(served), browser.page_source.count(WAITS)
    started_s = time.monotonic()
    assert "is there" in upload(browser, served_alone, write(tmp_path, "coffee.jpg", pictures.innocent))
    said = upload(browser, served_alone, write(tmp_path, "cat.png", pictures.listed))
    assert "is being checked" in said
    assert time.monotonic() - started_s < 60
    assert len(shown(browser)) == there + 1
    assert browser.page_source.count(WAITS) == waiting + 1
    photograph(browser, "django-service-down")
    # It is back, and says that the picture is listed.
    assert served.manage("iii", "outbox", "retry") == 0
    assert served.manage("iii_drain") == 0
    browser.get(served_alone.url)
    assert len(shown(browser)) == files(served) == there + 1
    assert browser.page_source.count(WAITS) == waiting
