"""What an outbox row holds of an item: enough to ask the service and to rule again, and no more.

JSON, strictly read. No pixels, no coefficients, no uploader: the hashes that hit, the digests, what was not
looked at, and the route that the policy needs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iii_client.errors import RecordError
from iii_client.model import (
    Algorithm,
    Candidate,
    Fingerprint,
    HashValue,
    Mode,
    Reason,
    ReleaseId,
    Skipped,
    UploadContext,
    Verdict,
)

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item that waits for an answer.

    Attributes:
        fingerprint: without its perceptual hashes; those that hit are among the candidates.
        candidates: what to ask about.
        filter_reasons: reasons of the first verdict that stay true whatever the service says.
        release: the filter that was asked.
        mode: of the scanner.
        context: the route alone.
    """

    fingerprint: Fingerprint
    candidates: tuple[Candidate, ...]
    filter_reasons: tuple[Reason, ...]
    release: ReleaseId
    mode: Mode
    context: UploadContext


#: Of a verdict's reasons, those that come from the filter and not from the service or the content.
_FILTER_REASONS = frozenset(
    {
        Reason.NO_FILTER,
        Reason.FILTER_EXPIRED,
        Reason.FILTER_STALE,
        Reason.FILTER_BYPASSED,
        Reason.PROBE_OVERFLOW,
    }
)


def encode_item(verdict: Verdict, *, mode: Mode, route: str) -> str:
    """One line of JSON."""
    seen = verdict.fingerprint
    return json.dumps(
        {
            "v": _VERSION,
            "recipe": seen.recipe,
            "size_bytes": seen.size_bytes,
            "kind": seen.kind,
            "digests": [[d.algorithm.value, d.hex] for d in seen.digests],
            "skipped": [[s.what, s.reason.value, s.detail] for s in seen.skipped],
            "candidates": [
                [
                    c.hash.algorithm.value,
                    c.hash.hex,
                    c.section,
                    c.frame,
                    c.chain_length,
                    c.flips,
                    c.distance_bits,
                    c.view,
                    c.own,
                ]
                for c in verdict.candidates
            ],
            "filter_reasons": [r.value for r in verdict.reasons if r in _FILTER_REASONS],
            "release": str(verdict.release),
            "mode": mode.value,
            "route": route,
        },
        separators=(",", ":"),
    )


def decode_item(text: str) -> Item:
    """The inverse of `encode_item`.

    Raises:
        RecordError: not what this version or an older one wrote.
    """
    try:
        tree = json.loads(text)
        if tree["v"] != _VERSION:
            raise RecordError(f"an outbox row of version {tree['v']}; this library knows {_VERSION}")
        return Item(
            fingerprint=Fingerprint(
                recipe=_text(tree["recipe"]),
                size_bytes=int(tree["size_bytes"]),
                kind=_text(tree["kind"]),
                digests=tuple(_hash(*row) for row in tree["digests"]),
                skipped=tuple(
                    Skipped(what=_text(what), reason=Reason(reason), detail=_text(detail))
                    for what, reason, detail in tree["skipped"]
                ),
            ),
            candidates=tuple(_candidate(row) for row in tree["candidates"]),
            filter_reasons=tuple(map(Reason, tree["filter_reasons"])),
            release=ReleaseId.parse(_text(tree["release"])),
            mode=Mode(tree["mode"]),
            context=UploadContext(route=_text(tree["route"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"an outbox row cannot be read: {type(error).__name__}") from error


def _candidate(row: Sequence[Any]) -> Candidate:
    algorithm, value, section, frame, chain_length, flips, distance_bits, view, own = row
    return Candidate(
        hash=_hash(algorithm, value),
        section=_text(section),
        frame=int(frame),
        chain_length=int(chain_length),
        flips=int(flips),
        distance_bits=int(distance_bits),
        view=_text(view),
        own=bool(own),
    )


def _hash(algorithm: str, value: str) -> HashValue:
    return HashValue.from_hex(Algorithm(algorithm), value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
