"""`iii-client alarm list|dismiss`: what needs a person."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from iii_client.cli.exits import ExitCode
from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import age, err, out, print_json_line, safe_text
from iii_client.config import Config

app = typer.Typer(no_args_is_help=True, help="Alarms: what needs a person, open until somebody dismisses it.")


@app.command("list")
def list_alarms(
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object an alarm on standard output.")
    ] = False,
) -> int:
    """List open alarms, the oldest first. Exit 3 when there are any."""
    from iii_client.parts import Parts
    from iii_client.records.alarms import open_alarms

    store = Parts.from_config(Config.from_env()).store
    with store.reading() as tx:
        alarms = open_alarms(tx)
    now = datetime.now(UTC)
    if json:
        for alarm in alarms:
            print_json_line(
                {
                    "alarm": alarm.kind,
                    "detail": alarm.detail,
                    "first_at": alarm.first_at.isoformat(timespec="milliseconds"),
                    "last_at": alarm.last_at.isoformat(timespec="milliseconds"),
                    "times": alarm.times,
                }
            )
    elif alarms:
        table = Table("alarm", "since", "last", "times", "what to do", box=None, pad_edge=False)
        for alarm in alarms:
            table.add_row(
                safe_text(alarm.kind),
                age((now - alarm.first_at).total_seconds()),
                age((now - alarm.last_at).total_seconds()),
                f"{alarm.times:,}",
                safe_text(alarm.detail),
            )
        out.print(table)
        out.print("Close one with: iii-client alarm dismiss ALARM")
    else:
        out.print("no open alarms")
    return ExitCode.INCOMPLETE if alarms else ExitCode.NO_MATCH


@app.command()
def dismiss(
    alarm: Annotated[str, typer.Argument(metavar="ALARM", help="As 'iii-client alarm list' names it.")],
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> int:
    """Close an alarm: you have seen to it. If its cause is still there, it goes off again."""
    from iii_client.parts import Parts
    from iii_client.records.alarms import dismiss as close

    store = Parts.from_config(Config.from_env()).store
    with store.transaction() as tx:
        was_open = close(tx, alarm, by=operators(operator, second), now=datetime.now(UTC))
    if not was_open:
        err.print(f"[bold red]error:[/] no alarm {safe_text(alarm)} is open")
        err.print("  'iii-client alarm list' shows those that are.")
        return ExitCode.USAGE
    out.print(f"alarm {safe_text(alarm)} dismissed")
    return ExitCode.NO_MATCH
