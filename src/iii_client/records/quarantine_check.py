"""Whether every held file is there and whole, and nothing is left over where it should not be."""

from dataclasses import dataclass

from iii_client.errors import RecordError
from iii_client.records import places
from iii_client.records.held import Held, HeldState
from iii_client.records.places import NotThereError
from iii_client.records.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that a check found.

    Attributes:
        held_id: of the row; empty for a file that no row knows.
        what: `missing`, `changed`, `unreadable`, `interrupted`, `original_still_there` or `unknown_file`.
        detail: for a person.
    """

    held_id: str
    what: str
    detail: str


def problems_in(rows: tuple[Held, ...], vault: Vault) -> tuple[Problem, ...]:
    """Decrypt every live file and compare it with its row.

    Args:
        rows: all of them, also of files that are gone.
        vault: where the files lie.
    """
    live = [held for held in rows if held.is_live]
    problems = [found for held in live for found in _problems_of(held, vault)]
    known = {held.name for held in live}
    problems += [
        Problem(held_id="", what="unknown_file", detail="a file in the quarantine that no row knows")
        for name in vault.names()
        if name not in known
    ]
    return tuple(problems)


def _problems_of(held: Held, vault: Vault) -> list[Problem]:
    if held.state is not HeldState.HELD:
        detail = f"in the middle of an act ({held.state.value}) since {held.changed_at:%Y-%m-%d %H:%M} UTC"
        return [Problem(held_id=held.id, what="interrupted", detail=detail)]
    found = []
    try:
        if vault.read(held.name).sha256 != held.sha256:
            found.append(Problem(held_id=held.id, what="changed", detail="not the file that was held"))
    except NotThereError:
        found.append(Problem(held_id=held.id, what="missing", detail="the sealed file is gone"))
    except RecordError as error:
        found.append(Problem(held_id=held.id, what="unreadable", detail=str(error)))
    if held.origin_permissions.mode >= 0 and places.exists(held.origin):
        detail = "there is a file where the held one was moved from"
        found.append(Problem(held_id=held.id, what="original_still_there", detail=detail))
    return found
