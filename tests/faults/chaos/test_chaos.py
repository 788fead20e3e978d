"""Whatever the network or the service does: bounded waiting, no wrong verdict, nothing lost, nothing doubled.

Run short here; `python -m tests.faults.chaos.chaos_run` prints the table of the docs.
"""

import logging
from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn", reason="the extra [sandbox] is not installed")

from tests.faults.chaos import chaos_run

BUDGET_S = 0.3
UPLOADS = 2
#: Beside the budget and its tenth: this machine may be busy with other tests. The script, from which the
#: figures of the docs come, allows nothing beside them; a wait that nobody bounds lasts 5 s here, or longer.
BUSY_S = 1.0
NAMES = [*chaos_run.FAULTS, chaos_run.BAD_TLS]


@pytest.fixture(scope="module")
def here() -> Iterator[chaos_run.World]:
    with chaos_run.world(budget_s=BUDGET_S, hashes=UPLOADS * len(NAMES)) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_survived(here: chaos_run.World, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="iii_client")
    row = chaos_run.run(here, name, uploads=UPLOADS)
    assert row.wrong == 0, "no verdict is wrong, and nothing that waits is let through"
    assert row.left == 0, "once the fault is over, the backlog drains"
    assert (row.lost, row.doubled) == (0, 0)
    assert row.longest_wait_s < BUDGET_S * 1.1 + BUSY_S
    assert row.outcomes.total() == 2 * UPLOADS
    said = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("iii_client"))
    for secret in row.secrets:
        assert secret not in said, "no log line names a hash, a reference or an address"


def test_without_a_fault_every_item_is_answered_at_once(here: chaos_run.World) -> None:
    # The comparison must not be green because everything waits.
    assert set(chaos_run.FAULTS) >= {"none, for comparison"}
    with chaos_run.world(budget_s=BUDGET_S, hashes=UPLOADS) as fresh:
        row = chaos_run.run(fresh, "none, for comparison", uploads=UPLOADS)
    assert row.outcomes == {"matched": UPLOADS, "no_match": UPLOADS}
