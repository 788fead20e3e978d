"""Asks the central service about hashes that hit, and about nothing else."""

from iii_client.service.confirm import (
    NoConfirmer,
    ServiceConfirmer,
    ServiceReport,
    V1Confirmer,
    V2Confirmer,
    make_confirmer,
)
from iii_client.service.selection import confirm_items

__all__ = [
    "NoConfirmer",
    "ServiceConfirmer",
    "ServiceReport",
    "V1Confirmer",
    "V2Confirmer",
    "confirm_items",
    "make_confirmer",
]
