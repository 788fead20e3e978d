"""Rescans of what is stored already: resumable, on one machine or on a cluster, and checked again without
reading a file.

    inventory ──► run ──► worker (only hashes, anywhere) ──► run: segment, check, record, cursor
                   ▲                                          │
                 engine                            ledger (state.db) + segments (files)
                                                              ▼
                                               recheck · report: from the ledger, no storage read

`Rescan.start(config, job="…", roots=[…])` or `Rescan.resume(config, job="…")`, then `for event in
rescan.run()`.
"""

from iii_client.rescan.events import ChunkDone, Found, RunDone
from iii_client.rescan.jobs import JobStatus
from iii_client.rescan.recheck import Recheck
from iii_client.rescan.run import Rescan

__all__ = ["ChunkDone", "Found", "JobStatus", "Recheck", "Rescan", "RunDone"]
