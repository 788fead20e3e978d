"""What an import costs: the front door loads the standard library alone."""

import subprocess
import sys

import pytest

import iii_client

HEAVY = (
    "numpy",
    "PIL",
    "requests",
    "tuf",
    "imagehash",
    "pybloom_live",
    "bitarray",
    "scipy",
    "fsspec",
    "starlette",
    "prometheus_client",
)


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after one statement."""
    code = f"{statement}\nimport sys\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module", ["iii_client", "iii_client.model", "iii_client.errors", "iii_client.config"]
)
def test_importing_the_front_door_loads_the_standard_library_alone(module: str) -> None:
    before = modules_after("pass")
    loaded = modules_after(f"import {module}") - before
    foreign = {name for name in loaded if name not in sys.stdlib_module_names and name != "iii_client"}
    assert not foreign


def test_help_loads_nothing_heavy() -> None:
    loaded = modules_after(
        "import contextlib, io\n"
        "from iii_client.cli.app import run\n"
        "with contextlib.redirect_stdout(io.StringIO()): run(['--help'])"
    )
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_every_public_name_can_be_had_and_is_sorted() -> None:
    assert iii_client.__all__ == sorted(iii_client.__all__)
    for name in iii_client.__all__:
        assert getattr(iii_client, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = iii_client.does_not_exist
