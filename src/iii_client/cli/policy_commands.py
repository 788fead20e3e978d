"""`iii-client policy explain|lint|test`: what the policy does, in words, before it does it."""

import os
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from iii_client.cli.exits import ExitCode
from iii_client.cli.render import err, joined, out, plural, print_json_line, safe_text
from iii_client.cli.settings import config_without_mode
from iii_client.config import MODE_HINT, Config
from iii_client.errors import ConfigurationError, RecordError
from iii_client.model import (
    Algorithm,
    Candidate,
    Category,
    Fingerprint,
    HashValue,
    Match,
    Mode,
    Outcome,
    Reason,
    ReleaseId,
    UploadContext,
    Verdict,
)

app = typer.Typer(no_args_is_help=True, help="Say in words what is blocked, held and let through; check it.")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
RouteOption = Annotated[
    str, typer.Option("--route", help="The upload path to explain; without it, the rest.")
]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE.toml", help="Read this file instead of the configuration in use."),
]

#: Routes of our own commands, which no configuration has to name.
_OWN_ROUTES = "iii-client "


@app.command()
def explain(route: RouteOption = "", file: FileOption = None, json: JsonOption = False) -> None:
    """Say in plain sentences what is done with an upload. An asterisk marks what is not the default."""
    from iii_client.decide import TablePolicy
    from iii_client.decide.explain import explain as sentences_of

    config, mode_is_set = _read(file)
    policy = TablePolicy(config.policy)
    table = policy.table(route)
    sentences = sentences_of(table, config.guard)
    if json:
        print_json_line(
            {
                "version": policy.version,
                "mode": config.mode.value if mode_is_set else "",
                "route": route,
                "shadow": table.shadow,
                "routes": sorted(config.policy.routes),
                "sentences": [
                    {
                        "group": sentence.group,
                        "row": sentence.row,
                        "text": sentence.text,
                        "action": sentence.action,
                        "default": sentence.default,
                        "changed": sentence.changed,
                    }
                    for sentence in sentences
                ],
            }
        )
        return
    out.print(f"Policy {policy.version}, {_scope(route, config)}")
    if not mode_is_set:
        out.print(f"[yellow]No mode is set.[/] {MODE_HINT}")
    elif table.shadow or config.mode is Mode.SHADOW:
        where = "on this route" if config.mode is Mode.ENFORCE else "anywhere"
        out.print(f"[yellow]Shadow: nothing of this is carried out {where}, it is only recorded.[/]")
    for group, lines in groupby(sentences, key=lambda sentence: sentence.group):
        out.print(f"\n[bold]{safe_text(group)}[/]")
        for line in lines:
            mark = "*" if line.changed else " "
            default = f" (default: {line.default})" if line.changed and line.default else ""
            row = f"  [dim]{safe_text(line.row)}[/]" if line.row else ""
            out.print(f"{mark} {safe_text(line.text)}{default}{row}", soft_wrap=True)


@app.command()
def lint(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.toml]", help="Without it, the configuration in use.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Say what is probably not meant. Exit 0 nothing, 3 warnings, 2 an error or a file that is refused."""
    from iii_client.decide.lint import Level
    from iii_client.decide.lint import lint as findings_of

    config, mode_is_set = _read(file)
    findings = findings_of(
        config.policy,
        guard=config.guard,
        mode=config.mode if mode_is_set else Mode.ENFORCE,
        seen_routes=_seen_routes(config),
    )
    errors = sum(finding.level is Level.ERROR for finding in findings)
    if json:
        print_json_line(
            {
                "findings": [
                    {"level": f.level.value, "where": f.where, "says": f.says, "todo": f.todo}
                    for f in findings
                ]
            }
        )
    else:
        for finding in findings:
            style = "bold red" if finding.level is Level.ERROR else "yellow"
            where, says = safe_text(finding.where), safe_text(finding.says)
            out.print(f"[{style}]{finding.level.value}[/] [bold]{where}[/] {says}", soft_wrap=True)
            out.print(f"  {safe_text(finding.todo)}", soft_wrap=True)
        out.print(
            f"{plural(errors, 'error')}, {plural(len(findings) - errors, 'warning')}"
            if findings
            else "nothing to say against this policy"
        )
    if errors:
        return ExitCode.USAGE
    return ExitCode.INCOMPLETE if findings else ExitCode.NO_MATCH


@app.command("test")
def try_out(
    outcome: Annotated[Outcome, typer.Option(help="What was found.")] = Outcome.MATCHED,
    algorithm: Annotated[Algorithm, typer.Option("--hash", help="Which hash hit.")] = Algorithm.SHA256,
    distance: Annotated[int, typer.Option(min=0, max=256, help="Bits between it and the listed one.")] = 0,
    own: Annotated[bool, typer.Option("--own", help="Only the picture's own hash was confirmed.")] = False,
    sources: Annotated[list[str] | None, typer.Option("--source", help="A list that lists it.")] = None,
    categories: Annotated[
        list[str] | None, typer.Option("--category", metavar="SCHEME:CODE[@LIST]", help="As published.")
    ] = None,
    reasons: Annotated[list[Reason] | None, typer.Option("--reason", help="Why not simply matched.")] = None,
    route: RouteOption = "",
    file: FileOption = None,
    json: JsonOption = False,
) -> None:
    """Say what would be done with an upload of which this and that was found. Nothing is scanned or asked."""
    from iii_client.decide import TablePolicy
    from iii_client.decide.explain import done

    config, _ = _read(file)
    hit = HashValue(algorithm=algorithm, value=bytes(algorithm.width_bits // 8))
    matches: tuple[Match, ...] = ()
    if outcome is Outcome.MATCHED:
        published = tuple(map(_category, categories or ()))
        lists = tuple(dict.fromkeys([*(sources or ()), *(c.source for c in published if c.source)]))
        matches = (
            Match(
                hash=hit,
                distance_bits=distance,
                exact=algorithm.is_digest,
                sources=lists,
                categories=published,
            ),
        )
    verdict = Verdict(
        outcome=outcome,
        fingerprint=Fingerprint(recipe="", size_bytes=0, kind="jpeg"),
        candidates=(Candidate(hash=hit, section="", distance_bits=distance, own=own),),
        matches=matches,
        reasons=tuple(reasons or ()),
        release=ReleaseId(epoch=1, sequence=0),
    )
    policy = TablePolicy(config.policy)
    ruling = policy.rule(verdict, UploadContext(route=route))
    if json:
        print_json_line(
            {
                "ruled": ruling.action.value,
                "rule": ruling.rule,
                "shadow": ruling.shadow,
                "version": policy.version,
            }
        )
        return
    out.print(
        f"[bold]{ruling.action.value}[/]: it is {done(ruling.action)}, by the row {safe_text(ruling.rule)}"
    )
    if ruling.shadow or config.mode is Mode.SHADOW:
        out.print("[yellow]shadow: recorded, and not carried out[/]")


def _read(file: Path | None) -> tuple[Config, bool]:
    """The configuration in use, or a file's, and whether a mode is set."""
    environment = dict(os.environ)
    if file is not None:
        environment = {"III_CONFIG": str(file)}
        if "III_MODE" in os.environ:
            environment["III_MODE"] = os.environ["III_MODE"]
    return config_without_mode(environment)


def _scope(route: str, config: Config) -> str:
    if route in config.policy.routes:
        return f"for the route '{safe_text(route)}'"
    names = joined(f"'{safe_text(name)}'" for name in sorted(config.policy.routes))
    others = f"every route but {names}" if names else "every route"
    return f"for '{safe_text(route)}' as for {others}" if route else f"for {others}"


def _seen_routes(config: Config) -> tuple[str, ...]:
    """Routes that the records know; none when there are no records, or they cannot be read."""
    from iii_client.records.encounters import routes_seen
    from iii_client.records.opening import open_store

    if not config.policy.routes or not (config.records.database or (config.state_dir / "state.db").exists()):
        return ()
    store = open_store(config.records, config.state_dir)
    try:
        with store.transaction() as tx:
            return tuple(route for route in routes_seen(tx) if not route.startswith(_OWN_ROUTES))
    except RecordError:
        err.print("the records cannot be read: whether each route is used is not checked")
        return ()
    finally:
        store.close()


def _category(text: str) -> Category:
    code, _, source = text.partition("@")
    scheme, colon, code = code.partition(":")
    if not (scheme and colon and code):
        raise ConfigurationError(
            f"'{text}' is no category",
            hint="Write scheme:code, e.g. interpol-baseline:1, or scheme:code@list.",
        )
    return Category(scheme=scheme, code=code, source=source)
