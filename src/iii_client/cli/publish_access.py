"""`iii-client publish access …`: which hosters may download, and what."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from iii_client.cli.publish_options import DirOption, JsonOption, open_desk
from iii_client.cli.render import err, out, print_json_line
from iii_client.publisher.choices import Tier

app = typer.Typer(no_args_is_help=True, help="Who may download: password files for the web server.")

NameArgument = Annotated[str, typer.Argument(help="The hoster's user name, such as its domain.")]


@app.command()
def add(
    name: NameArgument,
    directory: DirOption,
    exact_only: Annotated[
        bool, typer.Option("--exact-only", help="Exact sections alone: no near segments.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Give a hoster a login. Its password is shown once and kept nowhere."""
    tier = Tier.EXACT if exact_only else Tier.ALL
    password = open_desk(directory).access.add(name, tier=tier, now=datetime.now(UTC).replace(microsecond=0))
    if json:
        print_json_line({"username": name, "password": password.reveal(), "tier": tier.value})
        return
    out.print(f"III_FILTER_USERNAME={name}")
    out.print(f"III_FILTER_PASSWORD={password.reveal()}", soft_wrap=True)
    if exact_only:
        out.print("III_FILTER_NEAR=false")
    err.print("hand it over on a way that only this hoster reads; it cannot be shown again")


@app.command("set-tier")
def set_tier(name: NameArgument, tier: Tier, directory: DirOption) -> None:
    """Let a login open near segments, or no more. What was fetched is not taken back."""
    open_desk(directory).access.set_tier(name, tier)
    out.print(f"{name}: {tier.value}")


@app.command()
def revoke(name: NameArgument, directory: DirOption) -> None:
    """Take a hoster's login away; its next request is refused."""
    open_desk(directory).access.revoke(name)
    out.print(f"{name} may download no more; what it has expires within seven days")


@app.command("list")
def list_(directory: DirOption, json: JsonOption = False) -> None:
    """Who has a login, what it opens, and since when."""
    logins = open_desk(directory).access.logins()
    if json:
        rows = [{"name": one.name, "tier": one.tier.value, "since": one.since.isoformat()} for one in logins]
        print_json_line({"logins": rows})
        return
    table = Table("name", "opens", "since", box=None, pad_edge=False)
    for one in logins:
        table.add_row(one.name, one.tier.value, str(one.since.date()))
    out.print(table)
