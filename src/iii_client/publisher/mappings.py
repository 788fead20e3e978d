"""Tables between category schemes: files that a publisher keeps, and that ride in its signed releases.

    {"name": "…", "version": 1, "from": "…", "to": "…", "rows": [{"code": "…", "to": "…", "relation": "…"}]}

A name and a version stand for the same rows for ever; another table of that name needs a higher version.
Which table is right is the publisher's judgement, so none is used that it did not put on the shelf. One
ships as an example, `uk-levels-to-categories`: where the Sentencing Council for England and Wales placed the
levels 1 to 5 of the 2007 guideline among the categories A to C of the 2014 one (its consultation of 2012).
"""

import json
from importlib.resources import files
from pathlib import Path

from iii_client.errors import ConfigurationError
from iii_client.model import CategoryMapping
from iii_client.publisher.lists import check_name
from iii_client.updates.durable import replace_durably
from iii_client.updates.signed_coverage import MAX_MAPPINGS, mapping_from_json, mapping_to_json

#: A table of 128 rows with long names takes 60 KB.
_MAX_BYTES = 256 << 10

SHIPPED = ("uk-levels-to-categories",)


class MappingShelf:
    """The tables of one publisher, in a folder that is made with the first."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory

    def all(self) -> tuple[CategoryMapping, ...]:
        """Every table, by name.

        Raises:
            ConfigurationError: a file is damaged.
        """
        return tuple(read_mapping(path) for path in sorted(self._dir.glob("*.json")))

    def put(self, mapping: CategoryMapping) -> bool:
        """Put a table on the shelf, in the place of an older version of its name.

        Returns:
            Whether it is new.

        Raises:
            ConfigurationError: its name cannot be one, a newer or another table of this name and version is
                there, or the shelf is full.
            OSError: it cannot be written.
        """
        if check_name(mapping.name) or not set(mapping.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
            raise ConfigurationError(
                "the name of a mapping has lower-case letters, digits and dashes", hint="Rename it."
            )
        present = {one.name: one for one in self.all()}
        known = present.get(mapping.name)
        if known == mapping:
            return False
        if known and known.version >= mapping.version:
            raise ConfigurationError(
                f"version {known.version} of the mapping '{mapping.name}' is here, this is {mapping.version}",
                hint="A changed table needs a higher version: what a version means never changes.",
            )
        if known is None and len(present) >= MAX_MAPPINGS:
            raise ConfigurationError(f"there are {MAX_MAPPINGS} mappings, which is the most")
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_durably(self._dir / f"{mapping.name}.json", json.dumps(mapping_to_json(mapping)).encode())
        return True


def read_mapping(path: Path) -> CategoryMapping:
    """Read the file of a table.

    Raises:
        ConfigurationError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"the mapping cannot be read: {error.strerror}") from None
    return _parse(content)


def shipped_mapping(name: str) -> CategoryMapping:
    """A table that ships with the library.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in SHIPPED:
        raise ConfigurationError(f"no mapping '{name}' ships", hint=f"There are: {', '.join(SHIPPED)}.")
    return _parse((files("iii_client.publisher") / "mapping_tables" / f"{name}.json").read_bytes())


def _parse(content: bytes) -> CategoryMapping:
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"the mapping is longer than {_MAX_BYTES} bytes")
    try:
        return mapping_from_json(json.loads(content))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            f"the mapping is malformed ({type(error).__name__})",
            hint="See docs/reference/lists.md for the form of a mapping.",
        ) from None
