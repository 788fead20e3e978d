"""The command `iii-client`: one file a command, `render.py` for what a person sees.

`iii-client --help` loads no numpy, requests or tuf: each command imports what it needs when it runs.
"""


def main() -> None:
    """Run the command line and exit with one of the codes of `iii_client.cli.exits`."""
    from iii_client.cli.app import run

    raise SystemExit(run())
