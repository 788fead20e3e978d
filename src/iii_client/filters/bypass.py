"""No filter, by the hoster's explicit choice: a digest of every picture is a candidate.

A bridge for services that offer no filter yet. It gives up the promise that nothing leaves for an innocent
file, so it is never a default, and every verdict made through it carries `FILTER_BYPASSED`.
"""

from collections.abc import Callable, Sequence

from iii_client.model import (
    DIGEST_ALGORITHMS,
    NO_RELEASE,
    Algorithm,
    Candidate,
    Fingerprint,
    Freshness,
    LookUp,
    ReleaseId,
)

BYPASS_SECTION = "bypass"


class BypassFilter:
    """Fits `protocols.MembershipFilter`; its candidates are one digest for every picture.

    Args:
        supports: whether the service can answer for an algorithm; the strongest such digest is taken.
    """

    def __init__(self, supports: Callable[[Algorithm], bool]) -> None:
        self._algorithm = next((algorithm for algorithm in DIGEST_ALGORITHMS if supports(algorithm)), None)

    @property
    def release(self) -> ReleaseId:
        """None is installed."""
        return NO_RELEASE

    @property
    def contents(self) -> str:
        """Nothing."""
        return ""

    @property
    def freshness(self) -> Freshness:
        """Nothing that could age."""
        return Freshness.FRESH

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> tuple[LookUp, ...]:
        """One candidate for each picture (decoded or not), none for anything else."""
        return tuple(LookUp(candidates=self._candidate(fingerprint)) for fingerprint in fingerprints)

    def _candidate(self, fingerprint: Fingerprint) -> tuple[Candidate, ...]:
        if not fingerprint.is_picture or self._algorithm is None or not fingerprint.digests:
            return ()
        return (Candidate(hash=fingerprint.digest(self._algorithm), section=BYPASS_SECTION),)
