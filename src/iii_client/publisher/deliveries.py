"""List files as they are delivered: which form a file has, how large it may be, and its entries.

Two forms: CSV (`lists.py`) and Project VIC's JSON (`vics.py`). A file is streamed, never held.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from iii_client.errors import ConfigurationError
from iii_client.publisher.bad_rows import BadRows
from iii_client.publisher.choices import ListForm
from iii_client.publisher.lists import ListEntry, check_name, read_csv
from iii_client.publisher.vics import read_vics

#: Largest list file. Ten million hashes take 2 GB as CSV; a larger file is a mistake, or an attack.
MAX_FILE_BYTES = 16 << 30


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One list file, and what there is to say about it once it was read.

    Attributes:
        path: the file.
        form: of the file; None looks at its name (`.json` is VICS).
        list_name, source: what a VICS file is filed under; CSV says so itself.
        codes: category codes of a VICS file that are to be listed.
        scheme: of those codes; by default what the file says.
        bad_rows: rows that cannot be listed.
        passed_over: what a VICS file holds and was not listed, by reason.

    Raises:
        ConfigurationError: something that the form needs is missing, or that it has no use for is given.
    """

    path: Path
    form: ListForm | None = None
    list_name: str = ""
    source: str = ""
    codes: frozenset[str] = frozenset()
    scheme: str = ""
    bad_rows: BadRows = field(default_factory=BadRows)
    passed_over: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.form is None:
            self.form = ListForm.VICS if self.path.suffix.lower() == ".json" else ListForm.CSV
        if self.form is ListForm.CSV:
            if self.list_name or self.source or self.codes or self.scheme:
                raise ConfigurationError(
                    "a CSV list says itself what its lists, sources and categories are",
                    hint="Leave out --list, --source, --code and --scheme, or name a VICS file.",
                )
            return
        for option, text in (("--list", self.list_name), ("--source", self.source)):
            if what := check_name(text):
                raise ConfigurationError(
                    f"a VICS file needs {option}: it {what}",
                    hint="Name the list that its hashes go to, and the body that it comes from.",
                )
        if not self.codes:
            raise ConfigurationError(
                "a VICS file needs --code: which of its categories are to be listed",
                hint="Such files hold harmless pictures, too; ask their source which codes are not.",
            )

    def entries(self) -> Iterator[ListEntry]:
        """Its entries, one by one; counts bad rows.

        Raises:
            ConfigurationError: the file cannot be read, is too large, or is no such list.
        """
        try:
            if not self.path.is_file():
                raise ConfigurationError("a list is a file", hint="Check the path; a folder or pipe is none.")
            size_bytes = self.path.stat().st_size
            if size_bytes > MAX_FILE_BYTES:
                raise ConfigurationError(
                    f"the list has {size_bytes} bytes, at most {MAX_FILE_BYTES} are read",
                    hint="Divide it.",
                )
            if self.form is ListForm.CSV:
                with self.path.open(encoding="utf-8", newline="") as file:
                    yield from read_csv(file, on_bad_row=self.bad_rows)
            else:
                with self.path.open(encoding="utf-8-sig") as file:
                    yield from read_vics(
                        file,
                        list_name=self.list_name,
                        source=self.source,
                        codes=self.codes,
                        scheme=self.scheme,
                        on_bad_row=self.bad_rows,
                        passed_over=self.passed_over,
                    )
        except OSError as error:
            raise ConfigurationError(
                f"the list cannot be read: {error.strerror}", hint="Check its path and permissions."
            ) from None
