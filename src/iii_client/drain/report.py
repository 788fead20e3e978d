"""What a drain did, for people, exit codes and the next step."""

from dataclasses import dataclass, field

from iii_client.model import Reason
from iii_client.notify import DeliveryReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport:
    """What one or several rounds did. Reports add up.

    Attributes:
        asked: items that were taken out of the outbox.
        matched, not_listed: answers, by what they say.
        settled_otherwise: items that need no answer any more: allow-listed, or the service cannot tell.
        postponed: items without an answer, asked again later.
        for_review: items that were given to a person.
        hashes_sent: how many hashes left.
        notices: what the application was told.
        problem: why the service gave no answers at all, of the last round; None when it did.
        wait_s: how long it asks to be left alone, of the last round.
    """

    asked: int = 0
    matched: int = 0
    not_listed: int = 0
    settled_otherwise: int = 0
    postponed: int = 0
    for_review: int = 0
    hashes_sent: int = 0
    notices: DeliveryReport = field(default_factory=DeliveryReport)
    problem: Reason | None = None
    wait_s: float = 0.0

    @property
    def settled(self) -> int:
        """Items that are done."""
        return self.matched + self.not_listed + self.settled_otherwise

    def __add__(self, later: "DrainReport") -> "DrainReport":
        return DrainReport(
            asked=self.asked + later.asked,
            matched=self.matched + later.matched,
            not_listed=self.not_listed + later.not_listed,
            settled_otherwise=self.settled_otherwise + later.settled_otherwise,
            postponed=self.postponed + later.postponed,
            for_review=self.for_review + later.for_review,
            hashes_sent=self.hashes_sent + later.hashes_sent,
            notices=self.notices + later.notices,
            problem=later.problem,
            wait_s=later.wait_s,
        )
