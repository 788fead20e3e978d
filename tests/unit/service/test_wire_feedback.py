"""Feedback on the wire: hashes and codes, padded, under a key; and the answer to it, strictly read."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from iii_client.config import ServiceConfig
from iii_client.errors import ConfigurationError, WireFormatError
from iii_client.model import Algorithm, Feedback, FeedbackKind, HashValue
from iii_client.service import wire_v2
from iii_client.service.feedback import FeedbackClient

HASH = HashValue(algorithm=Algorithm.SHA1, value=bytes(20))
DISPUTE = Feedback(key="k" * 64, kind=FeedbackKind.DISPUTE, code="innocent", confirm_id="c-1", hashes=(HASH,))


def test_a_dispute_is_the_contracts_body_and_nothing_else() -> None:
    request = wire_v2.build_feedback(DISPUTE)
    assert (request.method, request.path) == ("POST", "/v2/feedback")
    assert request.headers["Idempotency-Key"] == DISPUTE.key
    assert len(request.body) % wire_v2.PADDING_BYTES == 0
    assert json.loads(request.body) == {
        "confirm_id": "c-1",
        "kind": "dispute",
        "code": "innocent",
        "hashes": [{"id": "0", "algorithm": "sha1", "value": "00" * 20}],
    }


def test_a_follow_up_says_when() -> None:
    done_at = datetime(2026, 11, 24, 12, 30, 5, 999, tzinfo=UTC)
    request = wire_v2.build_feedback(
        replace(DISPUTE, kind=FeedbackKind.FOLLOW_UP, code="removed", done_at=done_at)
    )
    assert json.loads(request.body)["at"] == "2026-11-24T12:30:05+00:00"


def test_feedback_about_no_answer_cannot_be_built() -> None:
    with pytest.raises(ValueError):
        wire_v2.build_feedback(replace(DISPUTE, confirm_id=""))
    with pytest.raises(ValueError):
        wire_v2.build_feedback(replace(DISPUTE, hashes=(HASH,) * 101))


def test_the_answer_is_read_strictly() -> None:
    assert wire_v2.parse_feedback(b'{"feedback_id": "f-1", "later": true}') == "f-1"
    for body in (
        b"",
        b"[]",
        b"{}",
        b'{"feedback_id": 1}',
        b'{"feedback_id": ""}',
        b'{"feedback_id": "a\\n"}',
    ):
        with pytest.raises(WireFormatError):
            wire_v2.parse_feedback(body)


def test_a_service_that_takes_no_feedback_is_said_so() -> None:
    with pytest.raises(ConfigurationError, match="no service"):
        FeedbackClient.from_config(ServiceConfig())
    with pytest.raises(ConfigurationError, match="v1") as caught:
        FeedbackClient.from_config(ServiceConfig(url="https://example.org", protocol="v1"))
    assert "report hotline" in caught.value.hint
