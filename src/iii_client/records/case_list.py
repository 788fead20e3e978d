"""Encounters in pages, for people who look through them."""

from iii_client.records.cases import Case, load_case
from iii_client.records.store import Transaction


def count_cases(tx: Transaction, *, outcome: str = "") -> int:
    """How many encounters are kept.

    Args:
        outcome: only of this one, as decided then; of any when empty.
    """
    ((count,),) = tx.query(
        "SELECT count(*) FROM encounter WHERE outcome = :outcome OR :outcome = ''", outcome=outcome
    )
    return int(count)


def newest_cases(tx: Transaction, *, limit: int, offset: int = 0, outcome: str = "") -> tuple[Case, ...]:
    """One page, newest first.

    Args:
        limit: most cases.
        offset: how many to pass over.
        outcome: as in `count_cases`.
    """
    rows = tx.query(
        "SELECT id FROM encounter WHERE outcome = :outcome OR :outcome = ''"
        " ORDER BY at DESC, id DESC LIMIT :limit OFFSET :offset",
        outcome=outcome,
        limit=limit,
        offset=offset,
    )
    return tuple(load_case(tx, encounter_id) for (encounter_id,) in rows)
