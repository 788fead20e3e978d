"""Asks the central service about hashes that hit, and about nothing else."""

from iii_client.service.confirm import (
    NoConfirmer,
    ServiceConfirmer,
    ServiceReport,
    V1Confirmer,
    V2Confirmer,
    make_confirmer,
)
from iii_client.service.guarded import AnswerMemory, BreakerStore, GuardedConfirmer, endpoint_of
from iii_client.service.selection import confirm_items

__all__ = [
    "AnswerMemory",
    "BreakerStore",
    "GuardedConfirmer",
    "NoConfirmer",
    "ServiceConfirmer",
    "ServiceReport",
    "V1Confirmer",
    "V2Confirmer",
    "confirm_items",
    "endpoint_of",
    "make_confirmer",
]
