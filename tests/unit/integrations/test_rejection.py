"""What a refused uploader is told, and what not."""

import pytest

from iii_client.integrations.rejection import UploadRejected, rejection_text
from iii_client.model import Action, Decision, Fingerprint, Mode, Outcome, Reason, ReleaseId, Verdict


def decision(outcome: Outcome, action: Action, *reasons: Reason, case: str = "7K3M-Q2WF-9XTA") -> Decision:
    verdict = Verdict(
        outcome=outcome,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=9, kind="png"),
        reasons=reasons,
        release=ReleaseId(epoch=1, sequence=0),
    )
    return Decision(
        action=action, ruled=action, rule="r", verdict=verdict, mode=Mode.ENFORCE, case_reference=case
    )


def test_a_refusal_reads_the_same_whatever_the_reason() -> None:
    texts = {
        str(UploadRejected(decision(*why), contact="abuse@host.example"))
        for why in (
            (Outcome.MATCHED, Action.BLOCK),
            (Outcome.UNCONFIRMED, Action.QUARANTINE, Reason.SERVICE_TIMEOUT),
            (Outcome.UNSCANNABLE, Action.QUARANTINE, Reason.DECODE_FAILED),
        )
    }
    assert texts == {"This file cannot be taken. Reference: 7K3M-Q2WF-9XTA. Questions: abuse@host.example."}


@pytest.mark.parametrize(
    ("case", "contact", "text"),
    [
        ("", "", "This file cannot be taken."),
        ("A-B", "", "This file cannot be taken. Reference: A-B."),
        ("", "us", "This file cannot be taken. Questions: us."),
    ],
)
def test_what_is_not_known_is_left_out(case: str, contact: str, text: str) -> None:
    assert rejection_text(case, contact) == text
