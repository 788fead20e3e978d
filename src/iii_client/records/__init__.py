"""Writes down what must not be lost: `state.db` holds the evidence of every decision that is not plain."""

from iii_client.records.database import Database
from iii_client.records.encounters import EncounterLog

__all__ = ["Database", "EncounterLog"]
