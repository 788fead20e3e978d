"""`iii-client scan --quarantine`: carries out what the policy orders about scanned files."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from iii_client.cli.render import err, print_error, safe_text
from iii_client.config import Config
from iii_client.content import Content
from iii_client.errors import IIIError
from iii_client.model import Action, Decision
from iii_client.records.quarantine import Quarantine


class Holder:
    """Moves files that are to be held or blocked into quarantine, and counts.

    A decision that could not be recorded moves nothing: without a record nobody could give the file back.
    """

    def __init__(self, quarantine: Quarantine, *, roots: Sequence[Path]) -> None:
        self._quarantine = quarantine
        self._roots = [Path(os.path.realpath(root)) for root in roots]
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
        if not any(Path(origin).is_relative_to(root) for root in self._roots):
            # Whoever may make a link among the uploads must not have other people's files moved.
            err.print(f"[yellow]not moved:[/] {safe_text(path)} leads out of what is scanned")
            self.failed += 1
            return ""
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
def holder(config: Config, *, roots: Sequence[Path], wanted: bool) -> Iterator[Holder | None]:
    """A holder over the configured quarantine, if it is wanted, for files below these roots."""
    from iii_client.records.opening import open_store

    if not wanted:
        yield None
        return
    store = open_store(config.records, config.state_dir)
    try:
        yield Holder(Quarantine.from_config(config, store), roots=roots)
    finally:
        store.close()
