"""The fixtures that hosters get do what their table says, in a pytest of its own as a hoster runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from iii_client import Action, Outcome, Scanner
from iii_client.sandbox import Sandbox
from iii_client.testing import PracticePicture

pytest_plugins = ["pytester"]
Env = dict[str, str]


@pytest.mark.parametrize(
    ("fixture", "outcome", "action", "rule"),
    [
        ("iii_listed_picture", Outcome.MATCHED, Action.BLOCK, "matched_test"),
        ("iii_known_picture", Outcome.MATCHED, Action.BLOCK, "matched_exact"),
        ("iii_near_copy", Outcome.MATCHED, Action.QUARANTINE, "matched_near"),
        ("iii_innocent_picture", Outcome.NO_MATCH, Action.ALLOW, "no_match"),
        ("iii_broken_picture", Outcome.UNSCANNABLE, Action.QUARANTINE, "unscannable_content"),
    ],
)
def test_each_picture_is_ruled_as_the_table_says(
    iii_env: Env, fixture: str, outcome: Outcome, action: Action, rule: str, request: pytest.FixtureRequest
) -> None:
    picture: PracticePicture = request.getfixturevalue(fixture)
    with Scanner.from_env() as scanner:
        decision = scanner.scan(picture.open())
    assert (decision.verdict.outcome, decision.action, decision.rule) == (outcome, action, rule)


def test_in_shadow_everything_is_allowed(iii_shadow: Env, iii_known_picture: PracticePicture) -> None:
    with Scanner.from_env() as scanner:
        decision = scanner.scan(iii_known_picture.open())
    assert (decision.action, decision.ruled) == (Action.ALLOW, Action.BLOCK)


def test_while_the_service_is_down_a_hit_is_unconfirmed_and_innocence_is_not(
    iii_service_down: Env, iii_known_picture: PracticePicture, iii_innocent_picture: PracticePicture
) -> None:
    with Scanner.from_env() as scanner:
        assert scanner.scan(iii_known_picture.open()).verdict.outcome is Outcome.UNCONFIRMED
        assert scanner.scan(iii_innocent_picture.open()).allowed


def test_each_test_has_records_of_its_own(iii_env: Env, iii_practice_service: Sandbox) -> None:
    assert iii_env["III_STATE_DIR"] != iii_practice_service.env["III_STATE_DIR"]
    assert not list(Path(iii_env["III_STATE_DIR"]).glob("*.db"))


def test_a_hoster_needs_no_line_of_set_up(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(
        """
        from iii_client import Scanner

        def test_listed(iii_env, iii_listed_picture):
            assert not Scanner.from_env().scan(iii_listed_picture.open()).allowed

        def test_shell(iii_env):
            import os
            assert "III_CONTACT" not in os.environ
        """
    )
    monkeypatch.setenv("III_CONTACT", "of the developer's shell")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)


def test_a_run_of_pytest_that_asks_for_nothing_loads_nothing_heavy() -> None:
    code = (
        "import sys, iii_client.testing.plugin\n"
        "print(sorted({'numpy', 'PIL', 'requests', 'tuf', 'starlette'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
