"""Which store a configuration means."""

from pathlib import Path

from iii_client.config import RecordsConfig
from iii_client.records.filesystem import refuse_network_filesystem
from iii_client.records.postgres import PostgresStore
from iii_client.records.sqlite import SqliteStore
from iii_client.records.store import Store


def open_store(config: RecordsConfig, state_dir: Path) -> Store:
    """The store that the configuration names; nothing is connected or made yet.

    Raises:
        ConfigurationError: SQLite on a network file system, or an address that cannot be read.
        MissingExtraError: PostgreSQL without its extra.
    """
    if config.database:
        return PostgresStore(config.database.reveal())
    refuse_network_filesystem(state_dir)
    return SqliteStore(state_dir / "state.db")
