"""What to do with rows of a list that make no sense: refuse the list, or count, name and skip them.

A hash that is left out silently is a picture that is not found, so nothing is ever skipped that nobody
asked to skip, and how many were is always said. A bad row is named by its place, never by its hash.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from iii_client.errors import ConfigurationError

#: Bad rows that are named; the others are counted.
NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that cannot be listed.

    Attributes:
        place: where it is, such as `line 17, value`.
        what: what is wrong with it, to be read behind the place.
    """

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place} {self.what}"


#: Told about each bad row; what it raises ends the reading.
OnBadRow = Callable[[BadRow], None]


def refuse_bad_row(row: BadRow) -> None:
    """Refuse the whole list at its first bad row.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(
        f"the list is malformed: {row}",
        hint="See docs/reference/lists.md for the form; bad rows can be skipped with --bad-rows skip.",
    )


@dataclass(slots=True)
class BadRows:
    """Counts bad rows and keeps the first; the reading goes on.

    Attributes:
        count: of all.
        first: the first `NAMED`.
    """

    count: int = 0
    first: list[BadRow] = field(default_factory=list)

    def __call__(self, row: BadRow) -> None:
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(row)

    def refuse_if_any(self) -> None:
        """Refuse a list that had bad rows, once all of it was looked at.

        Raises:
            ConfigurationError: it had some; the message names the first, and how many.
        """
        if self.count:
            named = "; ".join(map(str, self.first))
            more = f"; and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
            raise ConfigurationError(
                f"{self.count} bad rows, nothing was added: {named}{more}",
                hint="Mend the list, or add the other rows with --bad-rows skip.",
            )
