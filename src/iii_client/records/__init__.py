"""Writes down what must not be lost: the state database holds the evidence of every decision that is not
plain, `cache.db` what may be deleted."""

from iii_client.records.recorder import StateRecorder
from iii_client.records.sqlite import SqliteStore
from iii_client.records.store import Store, Transaction

__all__ = ["SqliteStore", "StateRecorder", "Store", "Transaction"]
