"""Options that the commands of a publisher share, and the desk that they open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iii_client.config import Secret
from iii_client.errors import ConfigurationError

if TYPE_CHECKING:
    from iii_client.publisher.desk import PublisherDesk

#: A file with a passphrase holds one line.
_MAX_PASSPHRASE_BYTES = 1024

DirOption = Annotated[
    Path, typer.Option("--dir", envvar="III_PUBLISH_DIR", help="The publisher's folder.", show_default=False)
]
OfflineOption = Annotated[
    list[Path] | None,
    typer.Option("--offline", help="A folder of offline keys, such as a mounted stick; may be repeated."),
]
PassphraseOption = Annotated[
    bool, typer.Option("--passphrase", help="Ask for the passphrase of the offline keys.")
]
PassphraseFileOption = Annotated[
    Path | None, typer.Option("--passphrase-file", help="A file that holds it.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def passphrase(ask: bool, file: Path | None, *, new: bool = False) -> Secret | None:
    """The passphrase of the offline keys, asked for or read; None when neither was wanted.

    Raises:
        ConfigurationError: the file cannot be read, or is empty.
    """
    if file is not None:
        try:
            with file.open("rb") as content:
                text = content.read(_MAX_PASSPHRASE_BYTES).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError("the file with the passphrase cannot be read") from None
        if not text:
            raise ConfigurationError("the file with the passphrase is empty")
        return Secret(text)
    if ask:
        return Secret(
            typer.prompt("Passphrase of the offline keys", hide_input=True, confirmation_prompt=new, err=True)
        )
    return None


def open_desk(
    directory: Path, *, offline: list[Path] | None = None, secret: Secret | None = None
) -> "PublisherDesk":
    """The desk of the publisher in a folder.

    Raises:
        ConfigurationError: there is none.
    """
    from iii_client.publisher.desk import PublisherDesk

    return PublisherDesk.open(directory, offline=offline or (), passphrase=secret)
