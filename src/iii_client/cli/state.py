"""The records of this installation, opened for one command; and times as people write them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from iii_client.cli.settings import config_without_mode
from iii_client.config import Config
from iii_client.errors import ConfigurationError
from iii_client.records.store import Store

_AGE = re.compile(r"(\d{1,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@contextmanager
def open_state() -> Iterator[tuple[Config, Store]]:
    """Configuration and store, closed afterwards. The records are the same in both modes, so none is asked
    for.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    from iii_client.records.opening import open_store

    config, _ = config_without_mode(os.environ)
    store = open_store(config.records, config.state_dir)
    try:
        yield config, store
    finally:
        store.close()


def moment(text: str, *, option: str, now: datetime) -> datetime:
    """`2026-11-24`, `2026-11-24T12:30`, `2026-11-24T12:30+01:00`, or an age: `24h`, `30d`, `2w`.

    A time without a zone is UTC, as everything that this command prints.

    Raises:
        ConfigurationError: anything else.
    """
    if age := _AGE.fullmatch(text.strip()):
        return now - int(age[1]) * _UNITS[age[2]]
    try:
        parsed = datetime.fromisoformat(text.strip())
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{option} takes a time or an age", hint="For example 2026-11-24T12:30 (UTC), 24h, 30d or 2w."
        ) from None
