"""The documentation is true where a machine can check it: links, settings, rows, reasons, commands."""

import re
from pathlib import Path

import pytest

from iii_client.cli.exits import ExitCode
from iii_client.config import ENVIRONMENT
from iii_client.decide import DEFAULT_RULES

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_setting_is_in_the_reference_and_in_the_module() -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    module = (ROOT / "src/iii_client/config/__init__.py").read_text(encoding="utf-8").split('"""')[1]
    for variable, key in ENVIRONMENT.items():
        for text in (page, module):
            assert f"`{variable}`" in text
            assert f"`{key}`" in text


def test_every_policy_row_is_in_the_reference_with_its_default() -> None:
    page = (ROOT / "docs/reference/verdicts.md").read_text(encoding="utf-8")
    for row, action in DEFAULT_RULES.items():
        assert re.search(rf"\| `{row}` \| {action.value}\b", page), row


def test_every_exit_code_is_in_the_readme() -> None:
    line = (ROOT / "README.md").read_text(encoding="utf-8").split("Exit codes:")[1].split("\n\n")[0]
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", line)} == {int(code) for code in ExitCode}


def test_the_readme_shows_the_two_commands_that_ci_runs_as_written() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    install = "python3 -m venv .venv && .venv/bin/pip install"
    assert f"{install} '.[demo]' && .venv/bin/iii-client demo\n" in readme
    assert f"{install} '.[test]' && .venv/bin/pytest\n" in readme
