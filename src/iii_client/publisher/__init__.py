"""The publisher's side: lists of known hashes in, a signed filter repository out.

Deterministic: the same lists give the same bundle. Keys that publish are kept apart from keys that only
re-sign. The sandbox publishes through this room and nothing else.
"""

from iii_client.publisher.build import build_bundle, test_picture_entries
from iii_client.publisher.catalogue import Added, Catalogue, ListInfo
from iii_client.publisher.lists import FULL_QUALITY, ListEntry, read_csv, write_csv
from iii_client.publisher.reports import Description, PublishReport, RepositoryStatus
from iii_client.publisher.repository import FilterRepository

__all__ = [
    "FULL_QUALITY",
    "Added",
    "Catalogue",
    "Description",
    "FilterRepository",
    "ListEntry",
    "ListInfo",
    "PublishReport",
    "RepositoryStatus",
    "build_bundle",
    "read_csv",
    "test_picture_entries",
    "write_csv",
]
