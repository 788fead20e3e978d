"""A publisher's folder, and what it does with it every day: lists in, releases out.

    <dir>/repository/public/   what the web server serves
    <dir>/access/              password files that the web server reads
    <dir>/private/             never served: the lists in the clear, the near ledger, and the keys
        publisher.json         what kind of publisher this is
        catalogue.db           see catalogue.py
        mappings/              tables between category schemes, one file a table
        near/ online/ offline/ see near_ledger.py and keys.py

This is what the command line works with; a program may as well.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from iii_client.config import Secret
from iii_client.errors import ConfigurationError
from iii_client.filters import Clock, utc_now
from iii_client.model import HashValue, ListKind
from iii_client.publisher.access import AccessList
from iii_client.publisher.catalogue import MAX_DROPPED_RATIO, Added, Catalogue, ListInfo
from iii_client.publisher.deliveries import Delivery
from iii_client.publisher.delta_release import MAX_REMOVED_RATIO
from iii_client.publisher.lists import ListEntry, write_csv
from iii_client.publisher.mappings import MappingShelf
from iii_client.publisher.reports import Description, PublishReport, RepositoryStatus
from iii_client.publisher.repository import FilterRepository
from iii_client.updates.durable import replace_durably

_SETTINGS_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where a publisher's things lie."""

    root: Path

    @property
    def repository(self) -> Path:
        """Holds `public/`."""
        return self.root / "repository"

    @property
    def private(self) -> Path:
        """Never served."""
        return self.root / "private"

    @property
    def settings(self) -> Path:
        """Says that this is a publisher's folder."""
        return self.private / "publisher.json"


class PublisherDesk:
    """One publisher's folder; make it with `create`, open it with `open`.

    Attributes:
        repository: signed releases.
        access: who may download.
        mappings: tables between category schemes.
    """

    def __init__(self, folders: Folders, repository: FilterRepository, clock: Clock) -> None:
        self._folders = folders
        self._clock = clock
        self.repository = repository
        self.access = AccessList(folders.private / "access.json", folders.root / "access")
        self.mappings = MappingShelf(folders.private / "mappings")

    @classmethod
    def create(
        cls,
        directory: Path,
        *,
        offline: Sequence[Path] = (),
        passphrase: Secret | None = None,
        practice: bool = False,
        clock: Clock = utc_now,
    ) -> "PublisherDesk":
        """Make a publisher's folder with new keys. Nothing is published yet.

        Args:
            directory: empty or new.
            offline: folders for the offline keys, such as mounted sticks; by default one in the folder.
            passphrase: protects the offline keys.
            practice: near segments may hold few hashes and are flagged: for harmless pictures only.
            clock: the present time.

        Raises:
            ConfigurationError: there is a publisher already, or the folders cannot be used.
        """
        folders = Folders(root=directory)
        if folders.settings.exists():
            raise ConfigurationError(
                "there is a publisher in this folder already", hint="Name a new folder for another one."
            )
        with _named("made"):
            folders.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            repository = _open(folders, offline, passphrase, practice, clock)
            # Last: a folder without it is one whose making was interrupted, and can be deleted.
            settings = {"version": _SETTINGS_VERSION, "practice": practice}
            replace_durably(folders.settings, json.dumps(settings).encode())
        return cls(folders, repository, clock)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        offline: Sequence[Path] = (),
        passphrase: Secret | None = None,
        clock: Clock = utc_now,
    ) -> "PublisherDesk":
        """Open a publisher's folder.

        Raises:
            ConfigurationError: there is none, or it is damaged.
        """
        folders = Folders(root=directory)
        try:
            settings = json.loads(folders.settings.read_bytes())
            version, practice = settings["version"], settings["practice"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigurationError(
                "there is no publisher in this folder",
                hint="Name its folder with --dir or III_PUBLISH_DIR, or make one: iii-client publish init",
            ) from None
        if version != _SETTINGS_VERSION or not isinstance(practice, bool):
            raise ConfigurationError("this publisher's folder was made by another version of this library")
        with _named("opened"):
            if not (folders.repository / "public" / "metadata" / "timestamp.json").exists():
                raise ConfigurationError(
                    "the repository of this publisher is missing",
                    hint="Restore the folder 'repository' from a backup: new keys would be a new publisher.",
                )
            return cls(folders, _open(folders, offline, passphrase, practice, clock), clock)

    @property
    def root_file(self) -> Path:
        """The first root: what hosters pin, given to them on another way than the filter."""
        return self.repository.public_dir / "metadata" / "1.root.json"

    # --- lists ------------------------------------------------------------------------------------------

    def add(
        self,
        delivery: Delivery,
        *,
        kind: ListKind | None = None,
        complete: bool = False,
        most_dropped: float = MAX_DROPPED_RATIO,
        skip_bad_rows: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Added:
        """Add a delivered list to the catalogue, all of it or nothing. See `Catalogue.add`.

        Raises:
            ConfigurationError: it cannot be read, has bad rows that are not to be skipped, or is of a new
                list and no kind is given.
            PublishError: it leaves out too much, or links too much.
        """

        def entries() -> Iterator[ListEntry]:
            yield from delivery.entries()
            if not skip_bad_rows:
                delivery.bad_rows.refuse_if_any()

        with self._catalogue() as catalogue:
            return catalogue.add(
                entries(),
                kind=kind,
                complete=complete,
                most_dropped=most_dropped,
                progress=progress,
            )

    def set_kind(self, list_name: str, kind: ListKind) -> None:
        """Say what a list is about; the next base tells.

        Raises:
            ConfigurationError: there is no such list.
        """
        with self._catalogue() as catalogue:
            catalogue.set_kind(list_name, kind)

    def withdraw(self, values: Iterable[HashValue], *, linked: bool = True) -> int:
        """Take hashes off every list, for good, with the other hashes of the same pictures.

        Returns:
            How many hashes are listed no more.

        Raises:
            PublishError: more hashes are linked than one picture has.
        """
        with self._catalogue() as catalogue:
            return sum(catalogue.withdraw(value, linked=linked) for value in values)

    def lists(self) -> tuple[ListInfo, ...]:
        """Every list, by name."""
        with self._catalogue() as catalogue:
            return catalogue.lists()

    def export(self, file: TextIO) -> None:
        """Everything that is listed as one CSV, by hash, linked: for the confirming service."""
        with self._catalogue() as catalogue:
            write_csv(catalogue.entries(with_items=True), file, with_items=True)

    # --- releases ---------------------------------------------------------------------------------------

    def publish(self, *, base: bool | None = None, most_removed: float = MAX_REMOVED_RATIO) -> PublishReport:
        """Publish what is listed, as deltas or as a base. See `FilterRepository.publish`.

        Raises:
            ConfigurationError: a key is missing, or no list was added.
            PublishError: it would disclose the list, or too much is listed no more.
        """
        with self._catalogue() as catalogue, _named("written"):
            if not catalogue.kinds():
                raise ConfigurationError(
                    "there is no list to publish",
                    hint="Add one: iii-client publish add. If there were some, restore private/catalogue.db.",
                )
            description = Description(kinds=catalogue.kinds(), mappings=self.mappings.all())
            return self.repository.publish(
                catalogue.entries(), description=description, base=base, most_removed=most_removed
            )

    def refresh(self) -> bool:
        """Sign anew whatever is due. See `FilterRepository.refresh`."""
        with _named("written"):
            return self.repository.refresh()

    def rotate(self, replace: Iterable[str] = ()) -> None:
        """Put new keys in the place of others. See `FilterRepository.rotate`."""
        with _named("written"):
            self.repository.rotate(replace)

    def status(self) -> RepositoryStatus:
        """The repository as it stands."""
        return self.repository.status()

    @contextmanager
    def _catalogue(self) -> Iterator[Catalogue]:
        catalogue = Catalogue(self._folders.private / "catalogue.db")
        try:
            yield catalogue
        finally:
            catalogue.close()


def _open(
    folders: Folders, offline: Sequence[Path], passphrase: Secret | None, practice: bool, clock: Clock
) -> FilterRepository:
    return FilterRepository.open_or_create(
        folders.repository,
        keys_dir=folders.private,
        offline=offline,
        passphrase=passphrase,
        practice=practice,
        clock=clock,
    )


@contextmanager
def _named(what: str) -> Iterator[None]:
    """An error of the disk under a name of ours; the system's own text holds a path."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"the publisher's folder cannot be {what}: {error.strerror}",
            hint="Check its permissions and the free space.",
        ) from error
