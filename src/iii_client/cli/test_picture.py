"""`iii-client test-picture`: a harmless picture that every release lists."""

from pathlib import Path
from typing import Annotated

import typer

from iii_client.cli.render import err, safe_text
from iii_client.errors import ConfigurationError
from iii_client.test_picture import listed_picture_bytes


def test_picture(
    file: Annotated[Path, typer.Argument(metavar="FILE.png", help="Where to write it.")],
) -> None:
    """Write the harmless test picture, which every release lists in the category 'test'.

    Upload it to your own site to see the whole path at work.
    """
    try:
        # "x": a hoster's own file of that name is not ours to overwrite.
        with file.open("xb") as target:
            target.write(listed_picture_bytes())
    except FileExistsError:
        raise ConfigurationError("the file exists already", hint="Name a new file.") from None
    except OSError as error:
        raise ConfigurationError(f"the test picture cannot be written: {error.strerror}") from None
    err.print(f"wrote {safe_text(str(file))}; scan or upload it: it must be found in the category 'test'.")
