"""Encounters: every candidate, match and refusal with its circumstances, kept locally and never sent.

Uploader and place are stored under a key that only this state directory has: two encounters of one uploader
can be linked here, and the table alone names nobody.
"""

import json
import secrets
from collections.abc import Mapping
from datetime import datetime

from iii_client.model import Action, Algorithm, Candidate, Decision, HashValue, Match, Receipt, UploadContext
from iii_client.records.case_reference import new_case_reference
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.records.store import Transaction, Value, as_text, storable


def add_encounter(
    tx: Transaction,
    decision: Decision,
    context: UploadContext,
    *,
    now: datetime,
    key: PseudonymKey,
    policy: str,
    counts: bool,
) -> Receipt:
    """Write one decision with its hits.

    Args:
        tx: the transaction that it becomes part of.
        decision: what was decided.
        context: where the item came from.
        now: aware.
        key: hides uploader and place.
        policy: version of the policy that ruled.
        counts: whether its hits count in the budgets.

    Raises:
        RecordError: the key cannot be read.
    """
    verdict = decision.verdict
    receipt = Receipt(
        encounter_id=secrets.token_hex(16),
        # Whoever is let through has no case to quote.
        case_reference="" if decision.action is Action.ALLOW else new_case_reference(),
    )
    tx.insert(
        "encounter",
        [
            {
                "id": receipt.encounter_id,
                "case_reference": receipt.case_reference,
                "at": as_text(now),
                "outcome": verdict.outcome.value,
                "ruled": decision.ruled.value,
                "action": decision.action.value,
                "mode": decision.mode.value,
                "rule": decision.rule,
                "guard": decision.guard,
                "policy": policy,
                "reasons": " ".join(verdict.reasons),
                "release": str(verdict.release),
                "recipe": verdict.fingerprint.recipe,
                "sha256": _sha256(decision),
                "hashes_sent": verdict.hashes_sent,
                "confirm_id": storable(verdict.confirm_id),
                "route": storable(context.route),
                "uploader_key": key.of(context.uploader),
                "place_key": key.of(context.place),
                "reference": storable(context.reference),
                "stored": int(context.stored),
                "counts": int(counts),
            }
        ],
    )
    confirmed = {match.hash: match for match in verdict.matches}
    tx.insert(
        "encounter_hit",
        [{"encounter_id": receipt.encounter_id, **_hit_row(hit, confirmed)} for hit in verdict.candidates],
    )
    return receipt


def name_reference(tx: Transaction, encounter_id: str, reference: str) -> None:
    """Say where the application finds an item, which it often knows only after the decision. Once: what was
    said before stays."""
    tx.execute(
        "UPDATE encounter SET reference = :reference WHERE id = :id AND reference = ''",
        reference=storable(reference),
        id=encounter_id,
    )


def routes_seen(tx: Transaction) -> tuple[str, ...]:
    """Every route by which something came that was recorded, without the empty one."""
    return tuple(
        route for (route,) in tx.query("SELECT DISTINCT route FROM encounter ORDER BY route") if route
    )


def sha256_of_case(tx: Transaction, case_reference: str) -> bytes:
    """SHA-256 of the item of a case; empty when there is no such case, or its content could not be read."""
    rows = tx.query("SELECT sha256 FROM encounter WHERE case_reference = :case", case=case_reference)
    return next((bytes(sha256) for (sha256,) in rows), b"")


def cases_of_sha256(tx: Transaction, sha256: bytes, *, most: int) -> tuple[str, ...]:
    """References of the cases in which exactly this content was held or refused, the newest first."""
    rows = tx.query(
        "SELECT case_reference FROM encounter WHERE sha256 = :sha256 AND case_reference <> ''"
        " ORDER BY at DESC LIMIT :most",
        sha256=sha256,
        most=most,
    )
    return tuple(reference for (reference,) in rows)


def _sha256(decision: Decision) -> bytes:
    digests = decision.verdict.fingerprint.digests
    return next((digest.value for digest in digests if digest.algorithm is Algorithm.SHA256), b"")


def _hit_row(hit: Candidate, confirmed: Mapping[HashValue, Match]) -> Mapping[str, Value]:
    match = confirmed.get(hit.hash)
    return {
        "algorithm": hit.hash.algorithm.value,
        "value": hit.hash.value,
        "section": hit.section,
        "view": hit.view,
        "frame": hit.frame,
        "chain_length": hit.chain_length,
        "flips": hit.flips,
        "own": int(hit.own),
        "confirmed": int(match is not None),
        "distance_bits": match.distance_bits if match else hit.distance_bits,
        "sources": json.dumps(match.sources if match else ()),
        "categories": json.dumps([[c.scheme, c.code, c.source] for c in match.categories] if match else []),
    }
