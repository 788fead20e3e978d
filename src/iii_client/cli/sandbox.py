"""`iii-client sandbox`: the practice service, a real HTTP server on loopback."""

from pathlib import Path
from typing import Annotated

import typer

from iii_client.cli.render import err, print_json_line


def sandbox(
    data: Annotated[Path, typer.Option("--data", help="Folder that keeps lists, keys and credentials.")],
    known: Annotated[
        Path | None, typer.Option(help="Folder of harmless pictures that are listed as known.")
    ] = None,
    list_file: Annotated[
        Path | None,
        typer.Option(
            "--list", help="CSV of hashes: algorithm,value,quality,list,source,scheme,code, one a row."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
) -> None:
    """Run the practice service: confirms by v1 and v2, and publishes a signed filter.

    Prints one JSON line: its URL, in 'env' every variable that points a client at it, and in 'exact_only_env'
    the same for a client whose login does not open near segments.
    """
    from iii_client.sandbox import Sandbox

    with Sandbox.open(data, port=port) as service:
        if known is not None:
            service.add_pictures([known])
        if list_file is not None:
            service.add_list(list_file)
        release = service.publish()
        service.start()
        print_json_line({"url": service.url, "env": service.env, "exact_only_env": service.exact_only_env})
        err.print(f"sandbox at {service.url}, filter release {release}; stop it with Ctrl-C.")
        service.wait()
