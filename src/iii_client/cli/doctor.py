"""`iii-client doctor`: what is configured, reachable and fresh, and what to do about the rest."""

import os
from collections.abc import Callable, Mapping
from typing import Annotated

import typer
from rich.table import Table

from iii_client.cli.checks.filter import filter_checks
from iii_client.cli.checks.finding import Check, State, failed, guarded
from iii_client.cli.checks.machine import formats, http_library, isolation
from iii_client.cli.checks.records import records, state_directory
from iii_client.cli.checks.service import service, webhook
from iii_client.cli.checks.settings import mode_is, policy
from iii_client.cli.exits import ExitCode
from iii_client.cli.render import out, print_json_line, safe_text
from iii_client.config import MODE_HINT, NO_MODE, Config
from iii_client.errors import ConfigurationError, IIIError
from iii_client.model import Mode


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Say what is configured, reachable and fresh, and for each missing piece what to do."""
    checks = run_checks(os.environ)
    if json:
        print_json_line(
            {
                "checks": [
                    {
                        "name": check.name,
                        "state": check.state.value,
                        "says": check.says,
                        "todo": check.todo,
                        "without": check.without,
                    }
                    for check in checks
                ]
            }
        )
    else:
        out.print(_table(checks))
    codes = {check.exit_code for check in checks}
    # Precedence: a trust failure outweighs everything, then configuration, then what is not there yet.
    for code in (ExitCode.TRUST_FAILURE, ExitCode.USAGE, ExitCode.INCOMPLETE):
        if code in codes:
            return code
    return ExitCode.NO_MATCH


def run_checks(environment: Mapping[str, str]) -> list[Check]:
    """Every check, in the order in which a hoster sets things up."""
    try:
        config = Config.from_env(environment)
        checks = [mode_is(config.mode)]
    except ConfigurationError as error:
        if str(error) != NO_MODE:
            return [failed("settings", error)]
        # Only the mode is missing: say so, and look at the rest all the same.
        checks = [
            Check(
                name="mode",
                state=State.MISSING,
                says=str(error),
                todo=MODE_HINT,
                without="iii-client demo, sandbox and test-picture need no mode; nothing is scanned without.",
                exit_code=ExitCode.USAGE,
            )
        ]
        config = Config.from_env({**environment, "III_MODE": Mode.SHADOW.value})
    return [
        *checks,
        guarded("policy", lambda: policy(config.policy)),
        guarded("state directory", lambda: state_directory(config.state_dir)),
        *_all_guarded("records", lambda: records(config.records, config.state_dir)),
        *filter_checks(config.filter, config.state_dir),
        guarded("service", lambda: service(config.service)),
        guarded("webhook", lambda: webhook(config.notify)),
        guarded("http library", http_library),
        guarded("formats", formats),
        guarded("isolation", lambda: isolation(config.isolation)),
    ]


def _all_guarded(name: str, checks: Callable[[], list[Check]]) -> list[Check]:
    try:
        return checks()
    except IIIError as error:
        return [failed(name, error)]


_STYLE = {State.OK: "green", State.WARN: "yellow", State.MISSING: "bold yellow", State.FAIL: "bold red"}


def _table(checks: list[Check]) -> Table:
    table = Table("", "check", "finding", box=None, pad_edge=False)
    for check in checks:
        lines = [safe_text(check.says)]
        if check.todo:
            lines.append(f"[bold]→ {safe_text(check.todo)}[/]")
        if check.without:
            lines.append(f"[dim]{safe_text(check.without)}[/]")
        table.add_row(f"[{_STYLE[check.state]}]{check.state.value}[/]", check.name, "\n".join(lines))
    return table
