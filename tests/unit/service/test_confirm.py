"""Which confirmer a configuration makes, and what one without a service says."""

import dataclasses

import pytest

from iii_client.config import Secret, ServiceConfig
from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, Confirmation, HashValue, Reason, Unanswered
from iii_client.service import NoConfirmer, V1Confirmer, V2Confirmer, make_confirmer

MD5 = HashValue(algorithm=Algorithm.MD5, value=bytes(16))
PDQ = HashValue(algorithm=Algorithm.PDQ, value=bytes(32))
CONFIG = ServiceConfig(url="https://service.example", username="hoster", password=Secret("word"))


def test_without_a_url_there_is_no_service_and_every_hit_stays_unconfirmed() -> None:
    confirmer = make_confirmer(ServiceConfig())
    assert isinstance(confirmer, NoConfirmer)
    assert confirmer.confirm([MD5, PDQ]) == Confirmation(
        answers=tuple(Unanswered(hash=value, reason=Reason.NO_SERVICE) for value in (MD5, PDQ))
    )
    with pytest.raises(ConfigurationError) as caught:
        confirmer.status()
    assert "III_SERVICE_URL" in caught.value.hint
    confirmer.close()


def test_no_service_is_a_missing_answer_and_not_an_inability() -> None:
    # Hits that a service can never answer for may pass; hits that nobody was asked about must not.
    assert all(NoConfirmer().supports(algorithm) for algorithm in Algorithm)


def test_the_protocol_chooses_the_contract_and_its_algorithms() -> None:
    v1 = make_confirmer(dataclasses.replace(CONFIG, protocol="v1"))
    v2 = make_confirmer(dataclasses.replace(CONFIG, protocol="v2"))
    assert isinstance(v1, V1Confirmer)
    assert isinstance(v2, V2Confirmer)
    assert {a for a in Algorithm if v1.supports(a)} == {Algorithm.MD5, Algorithm.SHA1}
    assert all(v2.supports(a) for a in Algorithm)


@pytest.mark.parametrize("change", [{"protocol": "v3"}, {"url": "https://"}, {"ca_file": "missing.pem"}])
def test_a_configuration_that_cannot_work_is_refused_at_once(change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        make_confirmer(dataclasses.replace(CONFIG, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_nothing_asked_is_nothing_sent(protocol: str) -> None:
    confirmer = make_confirmer(dataclasses.replace(CONFIG, protocol=protocol))
    assert confirmer.confirm([]) == Confirmation()
    confirmer.close()
