"""Updates: bytes from the network in, a verified and installed filter out.

TUF says what to trust, our own code moves the bytes: bounded, resumable, atomic, durable. Readers take the
current release from `LiveFilter` and never wait for an update.
"""

from typing import TYPE_CHECKING, Any

from iii_client.updates.live import LiveFilter
from iii_client.updates.negatives import RecentNegatives
from iii_client.updates.store import FilterStore

if TYPE_CHECKING:
    from iii_client.updates.refresher import start_refresher
    from iii_client.updates.updater import Updater, UpdateReport

__all__ = ["FilterStore", "LiveFilter", "RecentNegatives", "UpdateReport", "Updater", "start_refresher"]


def __getattr__(name: str) -> Any:
    # Workers read filters and never update: tuf and requests load with the first name that needs them.
    if name in {"Updater", "UpdateReport"}:
        from iii_client.updates import updater

        return getattr(updater, name)
    if name == "start_refresher":
        from iii_client.updates.refresher import start_refresher

        return start_refresher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
