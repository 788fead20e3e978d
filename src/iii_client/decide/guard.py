"""What a used-up budget of filter hits does to an action. Pure; the counting is done in `records`.

Never ALLOW: whoever floods a site must not open its door by it. Never BLOCK: what a bad list names must be
restorable. What is left is to hold it for a person.
"""

from dataclasses import replace

from iii_client.model import Action, Ruling


def review_only(ruling: Ruling, *, guard: str) -> Ruling:
    """The ruling as it may be carried out while a budget is used up.

    Args:
        ruling: what the policy says.
        guard: name of the budget, or empty when none was used up. A late answer about an item goes by the
            budget that was used up when the item came.
    """
    if not guard or ruling.action is not Action.BLOCK:
        return ruling
    return replace(ruling, action=Action.QUARANTINE)
