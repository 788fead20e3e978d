"""`iii-client metrics`: the numbers of this host for Prometheus."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from iii_client.cli.render import print_json_line
from iii_client.config import Config


def metrics(
    textfile: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Replace this file (ending in .prom) for node_exporter's textfile collector."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a value instead.")] = False,
) -> None:
    """Tell age of the filter, depth of the outbox, state of the service, open alarms and counts."""
    from iii_client.metrics import as_text, gather, write_textfile

    found = gather(Config.from_env(), now=datetime.now(UTC))
    if textfile is not None:
        write_textfile(textfile, as_text(found))
    elif json:
        for metric in found:
            for labels, value in metric.samples:
                print_json_line({"name": metric.name, "labels": dict(labels), "value": value})
    else:
        sys.stdout.write(as_text(found))
