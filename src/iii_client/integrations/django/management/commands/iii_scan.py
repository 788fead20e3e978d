"""`manage.py iii_scan`: scan what a storage of this project holds already.

Nothing is moved or deleted: what is found is recorded with the file's name in the storage as its reference,
and told by the signals. For millions of files, use a rescan, which can be resumed.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from django.core.files.storage import Storage, storages
from django.core.management.base import BaseCommand, CommandError, CommandParser

from iii_client.content import Content
from iii_client.errors import IIIError
from iii_client.integrations.django.client import get_parts
from iii_client.integrations.django.signals import send_decision
from iii_client.model import Decision, Outcome, UploadContext
from iii_client.scanner import Scanner

ROUTE = "manage.py iii_scan"


class Command(BaseCommand):
    """Exit code 0 for no match, 1 for matches, 3 for something that could not be looked at or confirmed."""

    help = "Scans what a storage holds already; nothing is moved or deleted"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder", nargs="?", default="", help="A folder of the storage; all of it unless given."
        )
        parser.add_argument("--storage", default="default", help="Its name in STORAGES.")
        parser.add_argument("--json", action="store_true", help="One JSON object a file on standard output.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Scan file by file."""
        storage = storages[options["storage"]]
        outcomes: Counter[Outcome] = Counter()
        try:
            with Scanner.from_parts(get_parts(), counts_hits=False) as scanner:
                for name in names_in(storage, options["folder"]):
                    context = UploadContext(route=ROUTE, reference=name, stored=True)
                    decision = _scan(scanner, storage, name, context)
                    outcomes[decision.verdict.outcome] += 1
                    send_decision(decision, context)
                    self._say(name, decision, as_json=options["json"])
        except IIIError as error:
            raise CommandError(f"{error} {error.hint}".strip(), returncode=2) from error
        finally:
            counts = ", ".join(f"{outcomes[outcome]} {outcome.value}" for outcome in Outcome)
            self.stderr.write(f"{outcomes.total()} files: {counts}")
        if outcomes[Outcome.MATCHED]:
            raise CommandError("matches were found", returncode=1)
        if outcomes[Outcome.UNSCANNABLE] or outcomes[Outcome.UNCONFIRMED]:
            raise CommandError("not everything could be looked at or confirmed", returncode=3)

    def _say(self, name: str, decision: Decision, *, as_json: bool) -> None:
        outcome = decision.verdict.outcome
        if as_json:
            said = {
                "name": name,
                "outcome": outcome.value,
                "ruled": decision.ruled.value,
                "reasons": [reason.value for reason in decision.verdict.reasons],
                "encounter_id": decision.encounter_id,
            }
            self.stdout.write(json.dumps(said))
        elif outcome is not Outcome.NO_MATCH:
            self.stdout.write(f"{outcome.value}\t{decision.ruled.value}\t{name!r}")


def names_in(storage: Storage, folder: str) -> Iterator[str]:
    """Every file of a storage below a folder, folder by folder."""
    folders, files = storage.listdir(folder)
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    yield from (f"{prefix}{name}" for name in sorted(files))
    for inner in sorted(folders):
        yield from names_in(storage, f"{prefix}{inner}")


def _scan(scanner: Scanner, storage: Storage, name: str, context: UploadContext) -> Decision:
    try:
        with storage.open(name) as file:
            return scanner.scan(Content.from_file(cast(BinaryIO, file)), context=context)
    except Exception:  # noqa: BLE001 - the boundary to storages, which raise types of their own
        return scanner.scan(_GONE, context=context)


class _Gone:
    """Stands for a file that the storage lists and does not open."""

    def read(self, _size: int = -1) -> bytes:
        raise OSError

    def seekable(self) -> bool:
        return False


_GONE: Any = _Gone()
