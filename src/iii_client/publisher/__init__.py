"""The publisher's side: lists of known hashes in, a signed filter repository out.

Deterministic: the same lists give the same bundle. Keys that publish are kept apart from keys that only
re-sign. The sandbox publishes through this room and nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iii_client.publisher.build import build_bundle, test_picture_entries
    from iii_client.publisher.catalogue import Added, Catalogue, ListInfo
    from iii_client.publisher.desk import PublisherDesk
    from iii_client.publisher.lists import FULL_QUALITY, ListEntry, read_csv, write_csv
    from iii_client.publisher.reports import Description, PublishReport, RepositoryStatus
    from iii_client.publisher.repository import FilterRepository

# The command line reads option names from this room: numpy and tuf load with the first name that needs them.
_HOMES = {
    "FULL_QUALITY": "lists",
    "Added": "catalogue",
    "Catalogue": "catalogue",
    "Description": "reports",
    "FilterRepository": "repository",
    "ListEntry": "lists",
    "ListInfo": "catalogue",
    "PublishReport": "reports",
    "PublisherDesk": "desk",
    "RepositoryStatus": "reports",
    "build_bundle": "build",
    "read_csv": "lists",
    "test_picture_entries": "build",
    "write_csv": "lists",
}

__all__ = [
    "FULL_QUALITY",
    "Added",
    "Catalogue",
    "Description",
    "FilterRepository",
    "ListEntry",
    "ListInfo",
    "PublishReport",
    "PublisherDesk",
    "RepositoryStatus",
    "build_bundle",
    "read_csv",
    "test_picture_entries",
    "write_csv",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
