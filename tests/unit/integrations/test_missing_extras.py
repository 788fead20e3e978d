"""An integration whose framework is not installed says which extra to install, not where an import failed."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("flask", "flask", "flask"),
        ("wtforms", "wtforms", "wtforms"),
        ("asgi", "starlette", "fastapi"),
        ("fastapi", "fastapi", "fastapi"),
    ],
)
def test_a_missing_framework_is_named_with_the_line_that_installs_it(
    module: str, missing: str, extra: str
) -> None:
    # None in sys.modules is how Python spells "not installed".
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from iii_client.errors import MissingExtraError\n"
        f"try:\n    import iii_client.integrations.{module}\n"
        "except MissingExtraError as error:\n    print(error.hint)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"Install it with: pip install 'iii-client[{extra}]'"
