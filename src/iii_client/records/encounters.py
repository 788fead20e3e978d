"""Encounters: every candidate, match and refusal with its circumstances, kept locally and never sent.

The uploader is stored under a key that only this state directory has: two encounters of one uploader can
be linked here, and the table alone names nobody.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from iii_client.errors import RecordError
from iii_client.model import Algorithm, Candidate, Decision, HashValue, Match, UploadContext
from iii_client.records.database import Database

_KEY_BYTES = 32


def _utc_now() -> datetime:
    return datetime.now(UTC)


class EncounterLog:
    """Records decisions in `state.db`. Fits `protocols.Recorder`."""

    def __init__(self, state_dir: Path, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._database = Database(state_dir / "state.db")
        self._key_file = state_dir / "encounter.key"
        self._clock = clock

    def record(self, decision: Decision, context: UploadContext) -> str:
        """Commit one decision with its hits and return the encounter's random id.

        Raises:
            RecordError: it could not be stored.
        """
        encounter_id = secrets.token_hex(16)
        verdict = decision.verdict
        confirmed = {match.hash: match for match in verdict.matches}
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO encounter VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    encounter_id,
                    self._clock().isoformat(timespec="milliseconds"),
                    verdict.outcome.value,
                    decision.ruled.value,
                    decision.action.value,
                    decision.mode.value,
                    decision.rule,
                    " ".join(verdict.reasons),
                    str(verdict.release),
                    verdict.fingerprint.recipe,
                    _sha256(decision),
                    verdict.hashes_sent,
                    _storable(context.route),
                    self._keyed(context.uploader),
                    _storable(context.reference),
                ),
            )
            db.executemany(
                "INSERT INTO encounter_hit VALUES (?,?,?,?,?,?,?,?,?)",
                [_hit_row(encounter_id, hit, confirmed) for hit in verdict.candidates],
            )
        return encounter_id

    def close(self) -> None:
        """Close this thread's connection; those of other threads close when they end."""
        self._database.close()

    def _keyed(self, uploader: str) -> bytes:
        return hmac.digest(self._key(), _storable(uploader).encode(), hashlib.sha256) if uploader else b""

    def _key(self) -> bytes:
        """The state directory's own key, made on first use; two makers agree on whoever came first."""
        try:
            if not self._key_file.exists():
                draft = self._key_file.with_suffix(f".{secrets.token_hex(4)}")
                with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(secrets.token_bytes(_KEY_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(draft, self._key_file)
                except FileExistsError:
                    pass
                finally:
                    draft.unlink()
            return self._key_file.read_bytes()
        except OSError as error:
            raise RecordError(f"the encounter key cannot be read or made: {error.strerror}") from error


def _storable(text: str) -> str:
    """A text that SQLite takes: file names may hold bytes that are no UTF-8 (lone surrogates here)."""
    return text.encode("utf-8", "backslashreplace").decode()


def _sha256(decision: Decision) -> bytes:
    digests = decision.verdict.fingerprint.digests
    return next((digest.value for digest in digests if digest.algorithm is Algorithm.SHA256), b"")


def _hit_row(encounter_id: str, hit: Candidate, confirmed: dict[HashValue, Match]) -> tuple[object, ...]:
    match = confirmed.get(hit.hash)
    return (
        encounter_id,
        hit.hash.algorithm.value,
        hit.hash.value,
        hit.section,
        hit.view,
        int(match is not None),
        match.distance_bits if match else hit.distance_bits,
        json.dumps(match.sources if match else ()),
        json.dumps([[c.scheme, c.code, c.source] for c in match.categories] if match else []),
    )
