"""`iii-client` with the settings of this project: the commands of `manage.py` that are thin.

The command runs in a process of its own and reads its configuration from a pipe, which nobody else can open:
settings may hold secrets, and policies that no environment variable can.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iii_client.config import Secret
from iii_client.errors import ConfigurationError
from iii_client.integrations.django.client import own_settings

#: What a pipe takes before anybody reads.
_PIPE_BYTES = 60_000


def run_client(arguments: Sequence[str]) -> int:
    """Run one command line of `iii-client` and return its exit code.

    Raises:
        ConfigurationError: a setting cannot be handed on.
    """
    environment = dict(os.environ)
    given = own_settings()
    descriptors: tuple[int, ...] = ()
    if given:
        if environment.get("III_CONFIG"):
            raise ConfigurationError(
                "there are settings in III_CONFIG and in the project's III_CLIENT",
                hint="Keep one of them for commands of manage.py.",
            )
        toml = as_toml(given).encode()
        if len(toml) > _PIPE_BYTES:
            raise ConfigurationError(f"the settings are larger than {_PIPE_BYTES} bytes")
        reading, writing = os.pipe()
        with open(writing, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(toml)
        descriptors = (reading,)
        environment["III_CONFIG"] = f"/dev/fd/{reading}"
    try:
        # Settings win over variables here, as they do in uploads.
        for variable in _variables_of(given):
            environment.pop(variable, None)
            environment.pop(f"{variable}_FILE", None)
        return subprocess.run(  # noqa: S603 - this interpreter, and arguments of the operator
            [sys.executable, "-m", "iii_client", *arguments],
            env=environment,
            pass_fds=descriptors,
            check=False,
        ).returncode
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def as_toml(tree: Mapping[str, Any]) -> str:
    """Nested plain values as TOML, one line a key.

    Raises:
        ConfigurationError: a value that TOML does not have.
    """
    return "".join(f"{_text(key)} = {_value(value)}\n" for key, value in tree.items())


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str() | Path():
            return _text(str(value))
        case Secret():
            return _text(value.reveal())
        case Mapping():
            return "{" + ", ".join(f"{_text(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
    raise ConfigurationError(f"a {type(value).__name__} is no value of a setting")


def _text(text: str) -> str:
    # JSON's texts are TOML's, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _variables_of(tree: Mapping[str, Any]) -> list[str]:
    from iii_client.config import ENVIRONMENT

    found = []
    for variable, dotted in ENVIRONMENT.items():
        here: Any = tree
        for key in dotted.split("."):
            here = here.get(key) if isinstance(here, Mapping) else None
        if here is not None:
            found.append(variable)
    return found
