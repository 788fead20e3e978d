"""`doctor` says which layers hold, by asking a real worker, and is loud where pictures are not isolated."""

from iii_client.cli.checks.finding import State
from iii_client.cli.checks.machine import isolation
from iii_client.fingerprint import Isolation
from iii_client.fingerprint.isolation import ALL_LAYERS, layer_names


def test_what_holds_here_is_named() -> None:
    with Isolation() as jail:
        held = jail.held_layers()
    check = isolation("on")
    assert layer_names(held) in check.says
    assert check.state is (State.OK if held == ALL_LAYERS else State.WARN)
    assert ("missing" in check.says) is (held != ALL_LAYERS)


def test_off_is_a_warning_that_says_what_it_means() -> None:
    check = isolation("off")
    assert check.state is State.WARN
    assert "OWN PROCESS" in check.says
    assert "Unset III_ISOLATION" in check.todo
