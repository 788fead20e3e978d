"""`iii-client case REF` and `iii-client dispute REF`: what is known about one case, and doubting it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from iii_client.cli.exits import ExitCode
from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import age, err, joined, out, plural, print_json_line, safe_text, size
from iii_client.cli.state import open_state
from iii_client.model import DisputeCode

if TYPE_CHECKING:  # loaded when a command runs
    from iii_client.config import Config
    from iii_client.records.cases import Case, Hit
    from iii_client.records.feedback import SendReport
    from iii_client.records.follow_ups import FollowUp
    from iii_client.records.store import Store

RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="The reference an uploader quotes, or an encounter id.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def case(
    ref: RefArgument,
    hashes: Annotated[bool, typer.Option("--hashes", help="Also show the hashes that hit.")] = False,
    names: Annotated[bool, typer.Option("--names", help="Also show the application's reference.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what is known about a case: what was decided and why, and what happened since. No picture."""
    from iii_client.records.cases import find_encounter, load_case
    from iii_client.records.feedback import feedback_of

    with open_state() as (_, store), store.reading() as tx:
        found = load_case(tx, find_encounter(tx, ref))
        messages = feedback_of(tx, found.encounter_id)
    if json:
        print_json_line(case_as_json(found, messages, hashes=hashes, names=names))
    else:
        _print_case(found, messages, hashes=hashes, names=names)


def dispute(
    ref: Annotated[str, typer.Argument(metavar="[REF]", help="The case; none sends what still waits.")] = "",
    reason: Annotated[
        DisputeCode, typer.Option("--reason", help="What the service is told.")
    ] = DisputeCode.INNOCENT,
    note: Annotated[str, typer.Option("--note", help="For your records. It is never sent.")] = "",
    json: JsonOption = False,
    operator: OperatorOption = "",
    second: SecondOption = "",
) -> int:
    """Tell the service that its answer is doubted: the hash and a code, nothing else.

    The dispute is kept and sent again later if the service cannot be reached (exit 3). To let the file
    through here at once: iii-client allow add --case REF.
    """
    from iii_client.records.cases import find_encounter
    from iii_client.records.feedback import dispute as doubt
    from iii_client.service.feedback import FeedbackClient

    with open_state() as (config, store):
        if ref:
            by = operators(operator, second)
            # Before anything is written: what can never be sent would wait for ever.
            FeedbackClient.from_config(config.service).close()
            with store.transaction() as tx:
                doubt(tx, find_encounter(tx, ref), code=reason, by=by, note=note, now=datetime.now(UTC))
        report = send_feedback(config, store)
    if json:
        print_json_line(
            {"sent": report.sent, "refused": report.refused, "waiting": report.waiting, "why": report.why}
        )
    else:
        print_sent(report)
        if ref:
            err.print(f"To let the file through here at once: iii-client allow add --case {safe_text(ref)}")
    return ExitCode.INCOMPLETE if report.waiting or report.refused else ExitCode.NO_MATCH


def send_feedback(config: "Config", store: "Store") -> "SendReport":
    """Send what the service is still to be told."""
    from iii_client.records.feedback import NOTHING_SENT, has_pending, send_pending
    from iii_client.service import make_confirmer
    from iii_client.service.feedback import FeedbackClient

    if not has_pending(store):
        # Also where no service is configured: a timer that finds nothing to do has not failed.
        return NOTHING_SENT
    sender, confirmer = FeedbackClient.from_config(config.service), make_confirmer(config.service)
    try:
        return send_pending(store, sender, confirmer=confirmer)
    finally:
        sender.close()
        confirmer.close()


def print_sent(report: "SendReport") -> None:
    """What became of messages to the service."""
    if not (report.sent or report.refused or report.waiting):
        out.print("no message waits for the service")
    if report.sent:
        out.print(f"the service has {plural(report.sent, 'message')}")
    if report.refused:
        out.print(f"[bold yellow]the service does not take {plural(report.refused, 'message')}:[/]")
        out.print("  see 'iii-client case REF'")
    if report.waiting:
        out.print(
            f"[yellow]{plural(report.waiting, 'message')} kept, not sent yet:[/] {safe_text(report.why)}\n"
            "  'iii-client dispute' without a case sends them later"
        )


def case_as_json(
    case: "Case", messages: tuple[tuple[str, str, str, str], ...] = (), *, hashes: bool, names: bool
) -> dict[str, Any]:
    """A case for machines."""
    from iii_client.cli.quarantine_commands import held_as_json

    return {
        "case_reference": case.case_reference,
        "encounter_id": case.encounter_id,
        "at": case.at.isoformat(timespec="milliseconds"),
        "route": case.route,
        "stored": case.stored,
        "outcome": case.outcome.value,
        "action": case.action.value,
        "ruled": case.ruled.value,
        "mode": case.mode,
        "rule": case.rule,
        "guard": case.guard,
        "reasons": list(case.reasons),
        "release": case.release,
        "recipe": case.recipe,
        "policy": case.policy,
        "outcome_now": case.outcome_now.value,
        "action_now": case.action_now.value,
        "hits": [_hit_as_json(hit, hashes=hashes) for hit in case.hits],
        "hashes_sent": case.hashes_sent,
        "follow_ups": [
            {
                "at": step.at.isoformat(timespec="milliseconds"),
                "kind": step.kind,
                "outcome": step.outcome,
                "action": step.action,
                "rule": step.rule,
                "operator": step.operator,
                "second_operator": step.second_operator,
                "note": step.note,
            }
            for step in case.follow_ups
        ],
        "outbox": [
            {"state": asked.state, "attempts": asked.attempts, "last_reason": asked.last_reason}
            for asked in case.asked
        ],
        "held": [held_as_json(held, names=names) for held in case.held],
        "feedback": [
            {"kind": kind, "code": code, "state": state, "error": error}
            for kind, code, state, error in messages
        ],
        **({"sha256": case.sha256.hex()} if hashes else {}),
        **({"reference": case.reference} if names else {}),
    }


def _hit_as_json(hit: "Hit", *, hashes: bool) -> dict[str, Any]:
    return {
        "algorithm": hit.algorithm,
        "exact": hit.is_exact,
        "confirmed": hit.confirmed,
        "distance_bits": hit.distance_bits,
        "section": hit.section,
        "view": hit.view,
        "sources": list(hit.sources),
        "categories": [{"scheme": c.scheme, "code": c.code, "source": c.source} for c in hit.categories],
        **({"value": hit.value.hex()} if hashes else {}),
    }


def _print_case(
    case: "Case", messages: tuple[tuple[str, str, str, str], ...], *, hashes: bool, names: bool
) -> None:
    now = datetime.now(UTC)
    out.print(f"[bold]case {case.name}[/], {age((now - case.at).total_seconds())} ago ({_when(case.at)})")
    rows = [
        ("decided", f"{case.outcome.value}: {_act(case)} by the row {case.rule}"),
        ("now", f"{case.outcome_now.value}: {case.action_now.value} ({case.rule_now})"),
        ("why", joined(case.reasons)),
        ("guard", case.guard),
        ("route", case.route),
        ("release", f"{case.release}, recipe {case.recipe}, policy {case.policy or '-'}"),
        ("sent", f"{plural(case.hashes_sent, 'hash')} left this machine"),
        ("reference", case.reference if names else ""),
        ("sha256", case.sha256.hex() if hashes else ""),
        ("encounter", case.encounter_id),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, text in rows:
        if text:
            table.add_row(name, safe_text(text))
    for hit in case.hits:
        table.add_row("hit", safe_text(_hit(hit, hashes=hashes)))
    for step in case.follow_ups:
        table.add_row("since", safe_text(f"{_when(step.at)}  {_step(step)}"))
    for asked in case.asked:
        table.add_row("outbox", f"{asked.state}, asked {plural(asked.attempts, 'time')} {asked.last_reason}")
    for held in case.held:
        hold = f", legal hold: {held.legal_hold}" if held.legal_hold else ""
        where = f", from {held.origin}" if names and held.origin else ""
        table.add_row("held", safe_text(f"{held.state.value}, {size(held.size_bytes)}{hold}{where}"))
    for kind, code, state, error in messages:
        table.add_row("service", safe_text(f"{kind} ({code}): {state}{f', {error}' if error else ''}"))
    out.print(table)


def _act(case: "Case") -> str:
    if case.action is case.ruled:
        return case.action.value
    return f"{case.action.value} (the policy says {case.ruled.value}; mode {case.mode})"


def _hit(hit: "Hit", *, hashes: bool) -> str:
    listed = "confirmed" if hit.confirmed else "not confirmed"
    closeness = "exact" if hit.is_exact else f"{hit.distance_bits} bits away"
    categories = joined(f"{c.scheme}:{c.code}" for c in hit.categories)
    parts = [f"{hit.algorithm}, {closeness}, {listed}", joined(hit.sources), categories]
    return "; ".join(part for part in [*parts, hit.value.hex() if hashes else ""] if part)


def _step(step: "FollowUp") -> str:
    by = joined(name for name in (step.operator, step.second_operator) if name)
    result = joined(text for text in (step.outcome, step.action, step.rule) if text)
    return (
        step.kind
        + (f" ({result})" if result else "")
        + (f" by {by}" if by else "")
        + (f": {step.note}" if step.note else "")
    )


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
