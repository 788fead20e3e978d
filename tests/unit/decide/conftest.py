"""Verdicts as values, for tests of what a policy makes of them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from iii_client.config import PolicyConfig
from iii_client.config.policy import POLICY
from iii_client.config.readers import table
from iii_client.model import (
    Algorithm,
    Candidate,
    Category,
    Fingerprint,
    HashValue,
    Match,
    Outcome,
    Reason,
    ReleaseId,
    Verdict,
)

MakeVerdict = Callable[..., Verdict]


def _category(text: str) -> Category:
    code, _, source = text.partition("@")
    scheme, _, code = code.partition(":")
    return Category(scheme=scheme, code=code, source=source)


@pytest.fixture
def matched() -> MakeVerdict:
    """A confirmed match: by which hash, how far away, on which lists, in which categories (`a:1@list`)."""

    def make(
        algorithm: Algorithm = Algorithm.SHA256,
        *,
        bits: int = 0,
        own: bool = False,
        sources: Sequence[str] = (),
        categories: Sequence[str] = (),
        list_version: str = "",
        reasons: Sequence[Reason] = (),
    ) -> Verdict:
        value = HashValue(algorithm=algorithm, value=bytes(algorithm.width_bits // 8))
        match = Match(
            hash=value,
            distance_bits=bits,
            exact=algorithm.is_digest,
            sources=tuple(sources),
            categories=tuple(map(_category, categories)),
            list_version=list_version,
        )
        return _verdict(Outcome.MATCHED, value, own=own, matches=(match,), reasons=reasons)

    return make


@pytest.fixture
def unconfirmed() -> MakeVerdict:
    """A probable hit, by which hash, and why there is no answer."""

    def make(reason: Reason, algorithm: Algorithm = Algorithm.SHA256) -> Verdict:
        value = HashValue(algorithm=algorithm, value=bytes(algorithm.width_bits // 8))
        return _verdict(Outcome.UNCONFIRMED, value, reasons=(reason,))

    return make


def _verdict(
    outcome: Outcome,
    hit: HashValue,
    *,
    own: bool = False,
    matches: tuple[Match, ...] = (),
    reasons: Sequence[Reason] = (),
) -> Verdict:
    return Verdict(
        outcome=outcome,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="jpeg"),
        candidates=(Candidate(hash=hit, section="", own=own),),
        matches=matches,
        reasons=tuple(reasons),
        release=ReleaseId(epoch=1, sequence=0),
    )


@pytest.fixture
def policy_config() -> Callable[[dict[str, Any]], PolicyConfig]:
    """A policy's configuration, read as TOML would give it."""
    return lambda tree: PolicyConfig(**table("policy", tree, POLICY))
