"""`iii-client allow add|list|remove`: files that this hoster knows to be good."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from iii_client.cli.operator import OperatorOption, SecondOption, operators
from iii_client.cli.render import err, joined, out, print_json_line, safe_text
from iii_client.cli.state import open_state
from iii_client.errors import ConfigurationError, ContentError
from iii_client.model import Algorithm, HashValue
from iii_client.records.allow_list import AllowedDigest, AllowList, not_a_digest
from iii_client.records.store import Store

app = typer.Typer(
    no_args_is_help=True,
    help="Let known-good files through whatever lists say: a disputed hash stops hurting at once.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]
DigestArgument = Annotated[
    str,
    typer.Argument(metavar="[DIGEST]", help="Hexadecimal; SHA-256 is best, md5: and sha1: are taken, too."),
]
FileOption = Annotated[
    Path | None, typer.Option("--file", metavar="PATH", help="Hash this file here. It goes nowhere.")
]
CaseOption = Annotated[
    str, typer.Option("--case", metavar="REF", help="The file of this case reference, as it was recorded.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="How you know that it is good.")]

#: What a person needs to tell entries apart.
_SHOWN_HEX_DIGITS = 12
#: Cases that are named at once.
_MOST_CASES = 20
#: Shorter beginnings might mean another entry tomorrow.
_LEAST_HEX_DIGITS = 8


@app.command()
def add(
    reason: ReasonOption,
    digest: DigestArgument = "",
    file: FileOption = None,
    case: CaseOption = "",
    operator: OperatorOption = "",
    second: SecondOption = "",
    json: JsonOption = False,
) -> None:
    """Let a file through from now on. It is recorded who said so, and why.

    The entry holds for these exact bytes. What is held already stays held; its cases are named.
    """
    with open_state() as (_, store):
        value = _digest(store, digest, file, case)
        new = AllowList(store).add(value, reason=reason, by=operators(operator, second))
        cases = _earlier_cases(store, value)
    if json:
        print_json_line({**_digest_as_json(value), "added": new, "cases": list(cases)})
    else:
        said = "is on the allow-list now" if new else "was on the allow-list before; nothing changed"
        out.print(f"{_shown(value)} {said}")
        if cases:
            more = ", …" if len(cases) == _MOST_CASES else ""
            err.print(f"It was held or refused before, in the cases {joined(cases)}{more}")
            err.print("  What is held stays held: iii-client review decide REF --as ok")
    if value.algorithm is not Algorithm.SHA256:
        err.print(
            f"[yellow]{value.algorithm} can be forged:[/] another file with this digest can be made, and it "
            "passes, too. Take the SHA-256 (--file or --case) where you can."
        )


@app.command("list")
def list_entries(
    full: Annotated[bool, typer.Option("--full", help="Show whole digests.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the allow-list, oldest first."""
    with open_state() as (_, store):
        entries = AllowList(store).entries()
    if json:
        for entry in entries:
            print_json_line(_entry_as_json(entry, full=full))
        return
    table = Table("since", "digest", "by", "reason", box=None, pad_edge=False)
    for entry in entries:
        by = entry.by.first + (f" and {entry.by.second}" if entry.by.second else "")
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M}",
            _shown(entry.digest, full=full),
            safe_text(by),
            safe_text(entry.reason),
        )
    out.print(table if entries else "the allow-list is empty")


@app.command()
def remove(
    digest: DigestArgument = "",
    file: FileOption = None,
    case: CaseOption = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, for the audit log.")] = "",
    operator: OperatorOption = "",
    second: SecondOption = "",
    json: JsonOption = False,
) -> None:
    """Take a file off the allow-list. The beginning of a digest is enough when it is the only one."""
    with open_state() as (_, store):
        allow_list = AllowList(store)
        value = _listed(allow_list, digest) if digest and not (file or case) else None
        value = value or _digest(store, digest, file, case)
        removed = allow_list.remove(value, reason=reason, by=operators(operator, second))
    if json:
        print_json_line({**_digest_as_json(value), "removed": removed})
    else:
        said = "is no longer on the allow-list" if removed else "was not on the allow-list"
        out.print(f"{_shown(value)} {said}")


def _earlier_cases(store: Store, digest: HashValue) -> tuple[str, ...]:
    from iii_client.records.encounters import cases_of_sha256

    if digest.algorithm is not Algorithm.SHA256:
        return ()
    with store.transaction() as tx:
        return cases_of_sha256(tx, digest.value, most=_MOST_CASES)


def _digest(store: Store, digest: str, file: Path | None, case: str) -> HashValue:
    given = [name for name, value in (("DIGEST", digest), ("--file", file), ("--case", case)) if value]
    if len(given) != 1:
        raise ConfigurationError(
            f"give one of DIGEST, --file and --case; given: {', '.join(given) or 'none'}",
            hint="--file hashes a file here; --case takes the reference that an uploader quotes.",
        )
    if file is not None:
        return _digest_of_file(file)
    return _digest_of_case(store, case) if case else _parse(digest)


def _digest_of_file(path: Path) -> HashValue:
    from iii_client.content import Content
    from iii_client.fingerprint.digests import digest_stream

    try:
        with Content.from_path(path) as content, content.open() as stream:
            return next(d for d in digest_stream(stream) if d.algorithm is Algorithm.SHA256)
    except ContentError as error:
        raise ConfigurationError(f"the file {error}", hint=error.hint) from None


def _digest_of_case(store: Store, case: str) -> HashValue:
    from iii_client.records.case_reference import read_case_reference
    from iii_client.records.encounters import sha256_of_case

    try:
        reference = read_case_reference(case)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    with store.transaction() as tx:
        sha256 = sha256_of_case(tx, reference)
    if not sha256:
        raise ConfigurationError(
            "no file is recorded under this case reference",
            hint="It was mistyped, is older than the records are kept, or its content could not be read.",
        )
    return HashValue(algorithm=Algorithm.SHA256, value=sha256)


def _parse(text: str) -> HashValue:
    """A digest as people paste it: `sha256:` before it or not, in capitals or not."""
    name, _, digits = text.strip().lower().rpartition(":")
    try:
        algorithm = Algorithm(name) if name else _BY_LENGTH[len(digits)]
        if not algorithm.is_digest:
            raise not_a_digest(algorithm)
        return HashValue.from_hex(algorithm, digits)
    except (ValueError, KeyError):
        raise ConfigurationError(
            "this is no digest",
            hint="Give 64 (SHA-256), 40 (SHA-1) or 32 (MD5) hexadecimal digits, or --file or --case.",
        ) from None


def _listed(allow_list: AllowList, beginning: str) -> HashValue | None:
    """The only entry whose digest begins so; None when none does."""
    digits = beginning.strip().lower().rpartition(":")[2].rstrip("…")
    found = [entry.digest for entry in allow_list.entries() if entry.digest.hex.startswith(digits)]
    if len(digits) < _LEAST_HEX_DIGITS or not found:
        return None
    if len(found) > 1:
        raise ConfigurationError(f"{len(found)} entries begin so", hint="Give more digits.")
    return found[0]


#: PDQ has the length of SHA-256. Taken for one, it is an entry that no file ever has.
_BY_LENGTH = {
    a.width_bits // 4: a for a in (Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5, Algorithm.PHASH)
}


def _shown(digest: HashValue, *, full: bool = False) -> str:
    return f"{digest.algorithm}:{digest.hex if full else f'{digest.hex[:_SHOWN_HEX_DIGITS]}…'}"


def _digest_as_json(digest: HashValue, *, full: bool = False) -> dict[str, str]:
    """A disputed digest may stand on a list elsewhere: whole ones only when asked for."""
    shown = {"digest": digest.hex} if full else {"digest_starts": digest.hex[:_SHOWN_HEX_DIGITS]}
    return {"algorithm": digest.algorithm.value, **shown}


def _entry_as_json(entry: AllowedDigest, *, full: bool) -> dict[str, str]:
    return {
        **_digest_as_json(entry.digest, full=full),
        "reason": entry.reason,
        **entry.by.named,
        "at": entry.at.isoformat(),
    }
