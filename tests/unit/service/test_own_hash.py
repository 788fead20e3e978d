"""A picture's own perceptual hash leaves last, or never."""

from collections.abc import Sequence

from iii_client.model import (
    Algorithm,
    Answer,
    Candidate,
    Confirmation,
    HashValue,
    Listed,
    Match,
    NotListed,
    Reason,
    Unanswered,
)
from iii_client.service import confirm_items


def pdq(first: int, *, own: bool, algorithm: Algorithm = Algorithm.PDQ, distance_bits: int = 0) -> Candidate:
    value = HashValue(algorithm=algorithm, value=bytes([first]) + bytes(31))
    return Candidate(
        hash=value, section=f"near/{algorithm}/1", chain_length=8, distance_bits=distance_bits, own=own
    )


LISTED = pdq(1, own=False, distance_bits=20)
OWN = pdq(2, own=True)


class Service:
    """Lists what it is told to, and remembers what it was asked."""

    def __init__(self, *lists: Candidate) -> None:
        self.lists = {candidate.hash for candidate in lists}
        self.asked: list[HashValue] = []

    def supports(self, algorithm: Algorithm) -> bool:
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        self.asked += hashes
        return Confirmation(answers=tuple(map(self._answer, hashes)), hashes_sent=len(hashes))

    def _answer(self, value: HashValue) -> Answer:
        if value not in self.lists:
            return NotListed(hash=value)
        return Listed(hash=value, matches=(Match(hash=value, distance_bits=0, exact=False),))


def test_the_reconstructed_hash_is_asked_and_the_own_one_stays_here() -> None:
    service = Service(LISTED)
    confirm_items([[OWN, LISTED]], service)
    assert service.asked == [LISTED.hash]


def test_the_own_hash_is_asked_when_the_reconstructed_one_is_denied() -> None:
    service = Service(OWN)
    (confirmation,) = confirm_items([[OWN, LISTED]], service)
    assert service.asked == [LISTED.hash, OWN.hash]
    assert isinstance(confirmation.answers[-1], Listed)


def test_listed_hashes_of_every_convention_come_before_any_own_hash() -> None:
    other = pdq(3, own=False, algorithm=Algorithm.PDQ_512)
    service = Service()
    confirm_items([[OWN, other, LISTED]], service)
    assert service.asked == [LISTED.hash, other.hash, OWN.hash]


def test_an_own_hash_that_may_not_be_sent_is_withheld_and_not_forgotten() -> None:
    service = Service(OWN)
    denied, open_ring = confirm_items([[LISTED, OWN], [OWN]], service, send_own_hash=False)
    assert service.asked == [LISTED.hash]
    assert denied.answers == (NotListed(hash=LISTED.hash),)
    assert open_ring.answers == (Unanswered(hash=OWN.hash, reason=Reason.OWN_HASH_WITHHELD),)
    assert open_ring.hashes_sent == 0
