"""The confirming service, and who is told of its late answers."""

from iii_client.cli.checks.finding import Check, State
from iii_client.cli.exits import ExitCode
from iii_client.config import NotifyConfig, ServiceConfig


def service(config: ServiceConfig) -> Check:
    from iii_client.service import make_confirmer

    if not config.url:
        return Check(
            name="service",
            state=State.MISSING,
            says="no service is configured",
            todo="Ask the operator of the hash service for access and set III_SERVICE_URL, "
            "III_SERVICE_USERNAME and III_SERVICE_PASSWORD_FILE; set III_SERVICE_PROTOCOL=v1 if it speaks "
            "the older contract.",
            without="Filter hits are found, and held as unconfirmed.",
            exit_code=ExitCode.USAGE,
        )
    report = make_confirmer(config).status()
    parts = [f"{config.url} answers {report.protocol} in {report.elapsed_s * 1000:.0f} ms"]
    parts.append("credentials accepted" if config.username else "no credentials set")
    if report.lists:
        parts.append(f"lists: {', '.join(report.lists)}")
    return Check(name="service", state=State.OK, says="; ".join(parts))


def webhook(config: NotifyConfig) -> Check:
    """Whether the application is told, and can tell that it is us."""
    if config.webhook_url and not config.webhook_key:
        return Check(
            name="webhook",
            state=State.WARN,
            says="messages are not signed: anybody who reaches the address could forge one",
            todo="Set III_WEBHOOK_KEY_FILE, and verify the signature where messages arrive.",
        )
    return Check(
        name="webhook",
        state=State.OK,
        says="late answers and alarms are posted, signed" if config.webhook_url else "none",
        without="" if config.webhook_url else "Late answers reach only a callback, or whoever looks.",
    )
