"""What a listing yields, and how long a storage that refuses it is asked again."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from iii_client.errors import RescanError

#: Times that a listing is tried, and the longest pause before the second time; it doubles.
LIST_ATTEMPTS = 5
FIRST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item of a storage.

    Attributes:
        key: its name below the root; empty when the root itself is the item.
        size_bytes: as listed; -1 where the listing does not say.
        token: changes when the content does: entity tag or version, else size and time of change.
        cursor: listing goes on after this item from here.
    """

    key: str
    size_bytes: int
    token: str
    cursor: str


def patiently(listing: Callable[[], Any]) -> Any:
    """Ask a storage, and again after a pause where it refuses for the moment.

    Raises:
        FileNotFoundError, PermissionError: as the driver says.
        RescanError: it still refuses. A folder that cannot be listed now must not be taken for an empty one.
    """
    for attempt in range(LIST_ATTEMPTS):
        try:
            return listing()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # the boundary to drivers, which raise types of their own
            if attempt + 1 == LIST_ATTEMPTS:
                raise RescanError(
                    f"the storage cannot be listed: {type(error).__name__}",
                    hint="Nothing is lost: iii-client rescan resume goes on once it answers again.",
                ) from error
            time.sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
    raise AssertionError("unreachable")
