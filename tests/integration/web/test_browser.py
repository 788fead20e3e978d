"""A real browser in front of the Flask example, in gunicorn, with the practice service up and down.

Needs Debian's `chromium` and `chromium-driver`. Screenshots go to the folder in `III_TEST_SCREENSHOTS`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iii_client.testing import PracticePicture

for package in ("flask", "gunicorn", "selenium"):
    pytest.importorskip(package, reason=f"{package} is not installed")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("Debian's chromium and chromium-driver are not installed", allow_module_level=True)

EXAMPLE = Path(__file__).parents[3] / "examples" / "flask_app"
START_S = 60.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=900,900"):
        options.add_argument(argument)
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    )
    yield driver
    driver.quit()


def start_site(env: dict[str, str], board: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Loaded before the workers are forked: what the extension builds must stand that.
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers=2", f"--bind=127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--log-level=warning", "app:create_app()"],
        cwd=EXAMPLE,
        env={**os.environ, **env, "BOARD_DIR": str(board)},
    )
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    return process, f"http://127.0.0.1:{port}/"


@pytest.fixture
def site(iii_env: dict[str, str], board: Path) -> Iterator[str]:
    process, url = start_site(iii_env, board)
    yield url
    process.terminate()
    process.wait(20)


@pytest.fixture
def site_without_service(iii_service_down: dict[str, str], board: Path) -> Iterator[str]:
    process, url = start_site(iii_service_down, board)
    yield url
    process.terminate()
    process.wait(20)


def upload(browser: Any, url: str, picture: PracticePicture, folder: Path, *, shot: str = "") -> str:
    """Choose a file, press the button, and return what the page says about it."""
    from selenium.webdriver.support import expected_conditions
    from selenium.webdriver.support.wait import WebDriverWait

    path = folder / picture.name
    path.write_bytes(picture.data)
    browser.get(url)
    browser.find_element("css selector", "input[type=file]").send_keys(str(path))
    button = browser.find_element("css selector", "button")
    button.click()
    # A click may come back before the answer does.
    WebDriverWait(browser, START_S).until(expected_conditions.staleness_of(button))
    WebDriverWait(browser, START_S).until(
        lambda page: page.execute_script("return document.readyState") == "complete"
    )
    alerts = browser.find_elements("css selector", "[role=alert]")
    if shot and (shots := os.environ.get("III_TEST_SCREENSHOTS")):
        browser.save_screenshot(str(Path(shots) / f"{shot}.png"))
    return alerts[0].text if alerts else ""


def test_a_browser_stores_a_harmless_picture_and_is_refused_a_listed_one(
    browser: Any,
    site: str,
    board: Path,
    tmp_path: Path,
    iii_innocent_picture: PracticePicture,
    iii_listed_picture: PracticePicture,
    iii_near_copy: PracticePicture,
) -> None:
    assert upload(browser, site, iii_innocent_picture, tmp_path, shot="flask-stored") == ""
    assert len(browser.find_elements("css selector", "li img")) == 1
    for picture, shot in ((iii_listed_picture, "flask-refused"), (iii_near_copy, "flask-near")):
        said = upload(browser, site, picture, tmp_path, shot=shot)
        assert said.startswith("This file cannot be taken. Reference: ")
        assert said.endswith("Questions: abuse@board.example.")
    assert [path.read_bytes() for path in board.iterdir()] == [iii_innocent_picture.data]


def test_the_page_is_usable_while_the_service_is_down(
    browser: Any,
    site_without_service: str,
    board: Path,
    tmp_path: Path,
    iii_innocent_picture: PracticePicture,
    iii_known_picture: PracticePicture,
) -> None:
    started_s = time.monotonic()
    said = upload(browser, site_without_service, iii_known_picture, tmp_path, shot="flask-service-down")
    assert said.startswith("This file cannot be taken. Reference: ")
    assert upload(browser, site_without_service, iii_innocent_picture, tmp_path) == ""
    assert time.monotonic() - started_s < 15
    assert [path.read_bytes() for path in board.iterdir()] == [iii_innocent_picture.data]
