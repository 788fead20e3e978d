"""The mode and the policy."""

from iii_client.cli.checks.finding import Check, State
from iii_client.cli.render import plural
from iii_client.config import PolicyConfig
from iii_client.model import Mode


def mode_is(mode: Mode) -> Check:
    if mode is Mode.ENFORCE:
        return Check(name="mode", state=State.OK, says="enforce: actions are carried out")
    return Check(
        name="mode",
        state=State.WARN,
        says="shadow: every upload passes, decisions only say what would have been done",
        todo="Set III_MODE=enforce when the summaries look right to you.",
    )


def policy(config: PolicyConfig) -> Check:
    from iii_client.decide import TablePolicy

    TablePolicy(config)
    changed = f"{plural(len(config.rules), 'row')} of your own" if config.rules else "the default rows"
    return Check(name="policy", state=State.OK, says=changed)
