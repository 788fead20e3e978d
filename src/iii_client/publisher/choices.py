"""Words that an operator chooses from. Loads nothing: the command line names them in its help."""

from enum import StrEnum


class ListForm(StrEnum):
    """The forms of list files."""

    CSV = "csv"
    #: Project VIC's JSON.
    VICS = "vics"


class Tier(StrEnum):
    """What a login opens."""

    #: Exact sections alone: for a hoster to whom the near segments cannot be entrusted.
    EXACT = "exact"
    ALL = "all"
