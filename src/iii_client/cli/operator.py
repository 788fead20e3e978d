"""Who gives the order: the options that every act of a person takes."""

import getpass
import os
from typing import Annotated

import typer

from iii_client.errors import ConfigurationError
from iii_client.records.operators import Operators

OperatorOption = Annotated[
    str, typer.Option("--operator", help="Who does this, for the audit log. Default: the login name.")
]
SecondOption = Annotated[str, typer.Option("--second", help="A second person who agreed.")]


def operators(operator: str, second: str) -> Operators:
    """The people behind a command.

    Raises:
        ConfigurationError: nobody is named, or one person twice.
    """
    try:
        return Operators(first=operator or _login_name(), second=second)
    except ValueError as error:
        raise ConfigurationError(str(error), hint="Name people with --operator and --second.") from None


def _login_name() -> str:
    # Behind sudo everybody is root, which says nothing.
    if sudoer := os.environ.get("SUDO_USER"):
        return sudoer
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        return ""
