"""The host's recent negatives: files in which the filter found nothing, for judging the next release.

A bad list delivery, or a stolen key, shows first in what a host sees every day: the stock pictures of a
content system, its users' ordinary files. So the digests of the last 10,000 distinct files without a hit
are kept, and a release that would suddenly hit more than a few of them is held for a human.

    <state>/filter/negatives   magic "\\x89IIINEG\\n", version u16, zeros u16, count u32, little-endian; then
                               104 bytes a file, oldest first: MD5, SHA-1, SHA-256, the PDQ hash of its first
                               frame (zeros when there is none), the day it was last seen (u32, since 1970)

They are personal data: one that was not seen for `keep_days` is forgotten at the next merge, and at once by
`forget_before`, which `iii-client data purge` calls every day.

Remembering costs a scan a microsecond: batches are merged into the file now and then, under a lock that
nobody waits for. Losing a batch costs nothing, so nothing is synced and no fault of the disk is raised. Near
segments are not asked: each is signed offline and gated by its fill, and asking takes milliseconds a file.
"""

import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from iii_client.errors import HeldReleaseError, UpdateRunningError
from iii_client.filters import ExactSections
from iii_client.model import (
    Algorithm,
    Decision,
    Fingerprint,
    HashValue,
    Outcome,
    PerceptualHash,
    ReleaseId,
)
from iii_client.updates.durable import exclusive_lock

MAX_NEGATIVES = 10_000
#: Of a host's negatives, so many may turn positive: they may have come before the lists had them.
ALLOWED = 3
ALLOWED_RATIO = 0.001

#: A batch is merged when it has so many files, or is so old. A merge rewrites a file of 1 MB.
BATCH_FILES = 512
BATCH_AGE_S = 300.0
#: When the file cannot be written, no more than this waits in memory: 0.4 MB.
_MAX_PENDING = 4096
#: How long an erasure waits for a merge, which takes milliseconds.
_ERASE_WAIT_S = 5.0

_ALGORITHMS = (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256)
_SHA256_AT = slice(36, 68)
_NO_PDQ = bytes(32)
_RECORD_BYTES = 104
_DAY = struct.Struct("<I")
_DAY_AT = 100
_DAY_S = 24 * 3600
_HEADER = struct.Struct("<8sHHI")
_MAGIC = b"\x89IIINEG\n"
_VERSION = 2

logger = logging.getLogger(__name__)


class RecentNegatives:
    """The negatives of one state directory (a `protocols.Observer`). Thread-safe, fork-safe.

    Args:
        state_dir: the state directory; nothing is created before the filter's own folder exists.
        keep_days: what was not seen for so many days is forgotten.
        monotonic: seconds, for the age of a batch.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        keep_days: int = 30,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = state_dir / "filter" / "negatives"
        self._keep_days = keep_days
        self._monotonic = monotonic
        self._clock = clock
        self._merged_at = monotonic()
        # Appending to a list needs no lock, and a lock held by another thread would stay locked in a fork.
        self._pending: list[bytes] = []

    def scanned(self, decision: Decision, *, seconds: float, recalled: bool) -> None:  # noqa: ARG002 - an observer's shape
        """Note an item in which the filter found nothing; any other is passed over."""
        verdict = decision.verdict
        if verdict.outcome is Outcome.NO_MATCH and not verdict.candidates:
            self.remember((verdict.fingerprint,))

    def remember(self, fingerprints: Sequence[Fingerprint]) -> None:
        """Note files in which the filter found nothing."""
        day = _DAY.pack(int(self._clock()) // _DAY_S)
        for fingerprint in fingerprints:
            if len(self._pending) < _MAX_PENDING and (record := _to_record(fingerprint)) is not None:
                self._pending.append(record + day)
        if len(self._pending) >= BATCH_FILES or self._monotonic() - self._merged_at > BATCH_AGE_S:
            self.flush()

    def flush(self) -> None:
        """Merge what is pending into the file, unless another process does so right now."""
        self._merged_at = self._monotonic()
        batch, self._pending = self._pending, []
        if not batch:
            return
        try:
            with exclusive_lock(self._path.with_name("negatives.lock"), timeout_s=0):
                first_day = int(self._clock()) // _DAY_S - self._keep_days
                self._write([*self._read(), *batch], first_day=first_day)
        except UpdateRunningError:
            self._pending += batch
        except OSError as error:
            logger.debug("recent negatives cannot be kept: %s", error.strerror)
            self._pending += batch

    def forget_before(self, moment: datetime) -> None:
        """Erase what was not seen since the day of this moment.

        Raises:
            UpdateRunningError: another process merges just now.
            OSError: the file cannot be written.
        """
        if not self._path.exists():
            return
        with exclusive_lock(self._path.with_name("negatives.lock"), timeout_s=_ERASE_WAIT_S):
            self._write(self._read(), first_day=int(moment.timestamp()) // _DAY_S)

    def forget_all(self) -> None:
        """Erase all of them.

        Raises:
            OSError: the file cannot be deleted.
        """
        self._pending = []
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Merge what is pending."""
        self.flush()

    def load(self) -> tuple[Fingerprint, ...]:
        """The negatives that are on disk, oldest first; none when the file is missing or damaged."""
        try:
            return tuple(map(_from_record, self._read()))
        except OSError:
            return ()

    def _read(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                content = file.read(_HEADER.size + MAX_NEGATIVES * _RECORD_BYTES + 1)
        except FileNotFoundError:
            return []
        if len(content) >= _HEADER.size:
            magic, version, zeros, count = _HEADER.unpack_from(content)
            if (magic, version, zeros) == (_MAGIC, _VERSION, 0) and count <= MAX_NEGATIVES:
                end = _HEADER.size + count * _RECORD_BYTES
                if len(content) == end:
                    return [
                        content[at : at + _RECORD_BYTES] for at in range(_HEADER.size, end, _RECORD_BYTES)
                    ]
        logger.warning("the file of recent negatives is damaged and begun anew")
        return []

    def _write(self, records: Iterable[bytes], *, first_day: int) -> None:
        distinct: dict[bytes, bytes] = {}
        for record in records:
            if _DAY.unpack_from(record, _DAY_AT)[0] < first_day:
                continue
            # Seen again, it moves to the end.
            distinct.pop(record[_SHA256_AT], None)
            distinct[record[_SHA256_AT]] = record
        kept = list(distinct.values())[-MAX_NEGATIVES:]
        # Not `.new`: an update sweeps such files away, and one that is made anew had the umask's mode.
        temporary = self._path.with_name("negatives.part")
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_HEADER.pack(_MAGIC, _VERSION, 0, len(kept)) + b"".join(kept))
        temporary.replace(self._path)


def check_negatives(
    negatives: Sequence[Fingerprint],
    *,
    installed: ExactSections | None,
    offered: ExactSections,
    release: ReleaseId,
) -> None:
    """Hold a release under which too many of this host's negatives turn positive.

    Args:
        negatives: what `RecentNegatives.load` gave.
        installed: what is in use; what it finds already does not count against the new release.

    Raises:
        HeldReleaseError: with the counts.
    """
    turned = _hits(negatives, offered)
    if installed is not None and turned:
        turned -= _hits(negatives, installed)
    allowed = max(ALLOWED, int(len(negatives) * ALLOWED_RATIO))
    if len(turned) > allowed:
        raise HeldReleaseError(
            f"release {release} is held: {len(turned)} of this host's last {len(negatives)} files without a "
            f"hit would be hits, at most {allowed} are plausible",
            release=str(release),
            hint="The filter in use stays. Ask the publisher of the filter whether these additions are "
            f"meant; if they are: iii-client filter accept {release}",
        )


def _hits(negatives: Sequence[Fingerprint], exact: ExactSections) -> set[int]:
    return {number for number, found in enumerate(exact.look_up(negatives)) if found.candidates}


def _to_record(fingerprint: Fingerprint) -> bytes | None:
    """None when there are no digests: then nothing was looked at."""
    digests = {digest.algorithm: digest.value for digest in fingerprint.digests}
    if any(algorithm not in digests for algorithm in _ALGORITHMS):
        return None
    pdq = next((p.value for p in fingerprint.perceptual if p.algorithm is Algorithm.PDQ), _NO_PDQ)
    return b"".join((*(digests[algorithm] for algorithm in _ALGORITHMS), pdq))


def _from_record(record: bytes) -> Fingerprint:
    digests = []
    at = 0
    for algorithm in _ALGORITHMS:
        end = at + algorithm.width_bits // 8
        digests.append(HashValue(algorithm=algorithm, value=record[at:end]))
        at = end
    pdq = record[at:_DAY_AT]
    return Fingerprint(
        recipe="",
        size_bytes=0,
        kind="unknown",
        digests=tuple(digests),
        perceptual=(PerceptualHash(algorithm=Algorithm.PDQ, value=pdq, quality=0),) if any(pdq) else (),
    )
