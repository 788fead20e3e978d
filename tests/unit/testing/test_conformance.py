"""The library's own plugs keep the promises that others are asked to keep, and broken ones are told."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from iii_client import Action, Algorithm, Config, HashValue, UploadContext, Verdict
from iii_client.config import PolicyConfig
from iii_client.decide import TablePolicy
from iii_client.model import Confirmation, NotListed, Outcome, Ruling
from iii_client.service import make_confirmer
from iii_client.testing import PracticePicture
from iii_client.testing.conformance import check_confirmer, check_policy, check_unreachable_confirmer

Env = dict[str, str]
OTHER = HashValue(algorithm=Algorithm.MD5, value=bytes(16))


def md5(picture: PracticePicture) -> HashValue:
    return HashValue(algorithm=Algorithm.MD5, value=hashlib.md5(picture.data).digest())


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_the_service_s_own_confirmer_conforms(
    iii_env: Env, protocol: str, iii_known_picture: PracticePicture
) -> None:
    service = replace(Config.from_env().service, protocol=protocol, timeout_s=20.0)
    check_confirmer(make_confirmer(service), listed=md5(iii_known_picture), not_listed=OTHER)


def test_without_a_service_it_conforms_too(iii_service_down: Env) -> None:
    check_unreachable_confirmer(make_confirmer(Config.from_env().service), value=OTHER)


class DeniesEverything:
    """A careless adapter: whatever happens is "not listed"."""

    def supports(self, algorithm: Algorithm) -> bool:
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        return Confirmation(answers=tuple(NotListed(hash=value) for value in hashes))


def test_an_adapter_that_denies_everything_is_told() -> None:
    listed = HashValue(algorithm=Algorithm.MD5, value=bytes(range(16)))
    with pytest.raises(AssertionError, match="is Listed"):
        check_confirmer(DeniesEverything(), listed=listed, not_listed=OTHER)
    with pytest.raises(AssertionError, match="no service: no answer"):
        check_unreachable_confirmer(DeniesEverything(), value=OTHER)


def test_the_table_conforms() -> None:
    check_policy(TablePolicy(PolicyConfig()))


class Reckless:
    """Holds what is innocent and lets through what could not be looked at."""

    version = "1"

    def rule(self, verdict: Verdict, context: UploadContext) -> Ruling:
        innocent = verdict.outcome is Outcome.NO_MATCH
        return Ruling(action=Action.QUARANTINE if innocent else Action.ALLOW, rule="upside down")


def test_a_policy_that_is_upside_down_is_told() -> None:
    with pytest.raises(AssertionError, match="not ruled milder"):
        check_policy(Reckless())
