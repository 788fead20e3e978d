"""The command's front door: registers the commands and turns every way to end into an exit code."""

import errno
import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from iii_client import __version__
from iii_client.cli import (
    alarm_commands,
    allow_commands,
    audit_commands,
    case_commands,
    data_commands,
    demo,
    doctor,
    filter_commands,
    metrics,
    outbox_commands,
    policy_commands,
    publish,
    quarantine_commands,
    report_commands,
    rescan_commands,
    review_commands,
    sandbox,
    scan,
    serve,
    service_commands,
    test_picture,
)
from iii_client.cli.exits import ExitCode, exit_code_of
from iii_client.cli.render import err, out, print_error, safe_text
from iii_client.errors import IIIError

app = typer.Typer(
    name="iii-client",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hash locally, check a signed filter, confirm only probable hits. No image ever leaves.",
    epilog="Exit codes: 0 no match · 1 matches found · 2 usage or configuration · 3 incomplete · "
    "4 trust failure · 5 internal error · 130 interrupted.",
)
app.command("scan")(scan.scan)
app.add_typer(rescan_commands.app, name="rescan")
app.command("doctor")(doctor.doctor)
app.add_typer(filter_commands.app, name="filter")
app.command("metrics")(metrics.metrics)
app.add_typer(outbox_commands.app, name="outbox")
app.add_typer(alarm_commands.app, name="alarm")
app.add_typer(service_commands.app, name="service")
app.add_typer(policy_commands.app, name="policy")
app.add_typer(allow_commands.app, name="allow")
app.command("case")(case_commands.case)
app.command("dispute")(case_commands.dispute)
app.add_typer(review_commands.app, name="review")
app.add_typer(quarantine_commands.app, name="quarantine")
app.add_typer(report_commands.app, name="report")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(data_commands.app, name="data")
app.add_typer(publish.app, name="publish")
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("sandbox")(sandbox.sandbox)
app.command("test-picture")(test_picture.test_picture)


#: A disk that takes no more, or fails.
_DISK_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"iii-client {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def run(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises, never shows a traceback for our errors."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = app(arguments, standalone_mode=False)
    except IIIError as error:
        print_error(error)
        return exit_code_of(error)
    except (KeyboardInterrupt, typer.Abort):
        result = ExitCode.INTERRUPTED
    except typer.TyperException as error:
        if message := error.format_message():  # empty when the help was shown instead
            err.print(f"[bold red]error:[/] {safe_text(message)}")
            err.print("  Try: iii-client --help")
        return ExitCode.USAGE
    except (BrokenPipeError, SystemExit):
        # `iii-client scan … | head`: the reader has seen enough. Typer would exit with 1, "matches found".
        _forget_output()
        return ExitCode.INTERRUPTED
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            return _internal_error()
        # `iii-client … >> log` on a full disk: what could not be written down was not told.
        err.print(f"[bold red]error:[/] the output could not be written: {error.strerror}")
        err.print("  Make room and run it again; nothing can be concluded from this run.")
        _forget_output()
        return ExitCode.INCOMPLETE
    except Exception:  # noqa: BLE001 - the boundary: a bug must not read as "matches found"
        return _internal_error()
    if result == ExitCode.INTERRUPTED:
        err.print("interrupted")
    return result if isinstance(result, int) else ExitCode.NO_MATCH


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _internal_error() -> ExitCode:
    err.print_exception(show_locals=False)
    err.print("[bold red]internal error:[/] this is a bug; nothing can be concluded from this run.")
    return ExitCode.INTERNAL_ERROR


def _forget_output() -> None:
    """What is still buffered would fail again when the interpreter ends, with an exit code of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
