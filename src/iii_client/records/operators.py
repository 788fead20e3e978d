"""Who acts: every restore, purge, hold and decision of a person carries a name, optionally a second one."""

from dataclasses import dataclass

from iii_client.records.store import storable

_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """The person who acts, and the one who agreed.

    Attributes:
        first: a name as the hoster knows it, e.g. a login name; never empty.
        second: of another person, or empty.

    Raises:
        ValueError: no name, or one person twice.
    """

    first: str
    second: str = ""

    def __post_init__(self) -> None:
        if not self.first.strip():
            raise ValueError("an act needs the name of the person who does it")
        if self.second and self.first.strip().casefold() == self.second.strip().casefold():
            raise ValueError("the second operator must be another person")

    @property
    def named(self) -> dict[str, str]:
        """As follow-ups and audit entries keep it."""
        return {
            "operator": storable(self.first)[:_LONGEST],
            "second_operator": storable(self.second)[:_LONGEST],
        }
