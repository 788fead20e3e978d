"""`iii-client service status|resume`: whether the service is asked just now, and asking it again."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from iii_client.cli.exits import ExitCode
from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import out, print_json_line
from iii_client.config import Config

app = typer.Typer(no_args_is_help=True, help="The confirming service: is it asked just now, or left alone?")


@app.command()
def status(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> int:
    """Show the circuit breaker that all workers share. Asks nobody. Exit 3 unless the service is asked."""
    from iii_client.parts import Parts
    from iii_client.records.breakers import Breakers
    from iii_client.service import endpoint_of
    from iii_client.service.breaker import Phase, paused_s, phase

    config = Config.from_env()
    state = Breakers(Parts.from_config(config).store).get(endpoint_of(config.service))
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    current, pause_s = phase(state, now_ms=now_ms), paused_s(state, now_ms=now_ms)
    if json:
        print_json_line(
            {
                "phase": current.value,
                "paused_s": round(pause_s, 3),
                "failures": state.failures,
                "refused": bool(state.alarm),
            }
        )
    else:
        out.print(f"{current.value}: {_IN_WORDS[current.value].format(pause=f'{pause_s:,.0f} s')}")
        if state.alarm:
            out.print("[bold red]It refuses the credentials[/]: check III_SERVICE_USERNAME and its password.")
        if pause_s:
            out.print("Ask it again at once with: iii-client service resume")
    asked = current is Phase.CLOSED and not state.alarm
    return ExitCode.NO_MATCH if asked else ExitCode.INCOMPLETE


@app.command()
def resume(operator: OperatorOption = "", second: SecondOption = "") -> int:
    """Let the service be asked again at once, although calls failed or it asked for a pause."""
    from iii_client.parts import Parts
    from iii_client.records.breakers import Breakers
    from iii_client.service import endpoint_of

    config = Config.from_env()
    breakers = Breakers(Parts.from_config(config).store)
    breakers.reset(endpoint_of(config.service), by=operators(operator, second))
    out.print("the service is asked again")
    return ExitCode.NO_MATCH


_IN_WORDS = {
    "closed": "the service is asked about every item that hits",
    "open": "calls failed; it is tried again in {pause}, and items that hit wait in the outbox",
    "half_open": "calls failed; the next item that hits tries it, and the others wait in the outbox",
    "waiting": "it wants to be left alone for another {pause}; items that hit wait in the outbox",
}
