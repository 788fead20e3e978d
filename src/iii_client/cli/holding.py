"""`iii-client scan --quarantine`: carries out what the policy orders about scanned files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iii_client.cli.render import print_error
from iii_client.config import Config
from iii_client.content import Content
from iii_client.errors import IIIError
from iii_client.model import Action, Decision
from iii_client.records.quarantine import Quarantine


class Holder:
    """Moves files that are to be held or blocked into quarantine, and counts.

    A decision that could not be recorded moves nothing: without a record nobody could give the file back.
    """

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine
        self.held = 0
        self.failed = 0

    def hold(self, path: str, decision: Decision) -> str:
        """Move one file if that is ordered. Returns the id of the held file, or empty.

        A file that cannot be moved is said so at once and counted, and the scan goes on.
        """
        if decision.action is Action.ALLOW:
            return ""
        if not decision.encounter_id:
            self.failed += 1
            return ""
        # Of a link, what it leads to: that is what users reach, and deleting the link would leave it.
        origin = os.path.realpath(path)
        try:
            with Content.from_path(Path(origin)) as content:
                held_id = self._quarantine.hold(content, decision.encounter_id, origin, move=True)
        except IIIError as error:
            print_error(error)
            self.failed += 1
            return ""
        self.held += 1
        return held_id


@contextmanager
def holder(config: Config, *, wanted: bool) -> Iterator[Holder | None]:
    """A holder over the configured quarantine, if it is wanted."""
    from iii_client.records.opening import open_store

    if not wanted:
        yield None
        return
    store = open_store(config.records, config.state_dir)
    try:
        yield Holder(Quarantine.from_config(config, store))
    finally:
        store.close()
