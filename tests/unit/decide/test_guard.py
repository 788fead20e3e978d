"""What a used-up budget of hits does to a ruling."""

import pytest

from iii_client.decide import review_only
from iii_client.model import Action, Ruling


@pytest.mark.parametrize(
    ("action", "guard", "left"),
    [
        (Action.BLOCK, "hash", Action.QUARANTINE),
        (Action.BLOCK, "", Action.BLOCK),
        (Action.QUARANTINE, "hash", Action.QUARANTINE),
        (Action.ALLOW, "hash", Action.ALLOW),
    ],
)
def test_what_would_be_blocked_is_held_while_a_budget_is_used_up(
    action: Action, guard: str, left: Action
) -> None:
    ruling = Ruling(action=action, rule="matched_exact", shadow=True)
    assert review_only(ruling, guard=guard) == Ruling(action=left, rule="matched_exact", shadow=True)
