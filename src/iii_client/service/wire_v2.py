"""The richer contract: up to 100 hashes a call in JSON, each answered under its own id. Pure, no I/O.

    GET  {base}/v2/status     what the service is and can
    POST {base}/v2/confirm    which of these hashes are listed
    POST {base}/v2/feedback   a match is disputed, or was followed up

Promises: every asked hash gets exactly one answer or the whole body is a `WireFormatError`; unknown fields
are ignored; texts, counts and times are capped; request bodies are padded to whole KiB, so that their
length tells at most roughly how many hashes they hold.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from iii_client.errors import WireFormatError
from iii_client.model import (
    Algorithm,
    Answer,
    Category,
    Feedback,
    HashValue,
    Listed,
    Match,
    NotListed,
    Reason,
    Unanswered,
)
from iii_client.service.strict_json import Fields, parse_object
from iii_client.service.wire import WireRequest

#: The contract's limit. A caller with more hashes makes several calls.
MAX_HASHES_PER_CALL = 100
#: Bodies are padded to multiples of this.
PADDING_BYTES = 1024
#: Longest answer that is read: 100 answers with a dozen matches of a dozen categories each stay below.
MAX_CONFIRM_ANSWER_BYTES = 1 << 20
MAX_STATUS_ANSWER_BYTES = 256 << 10
MAX_FEEDBACK_ANSWER_BYTES = 64 << 10

#: Longest id, name, code, version or error code, in characters.
MAX_TEXT = 256
#: Most matches of one answer, sources or categories of one match, and entries of one status array.
MAX_MATCHES = 64
MAX_LABELS = 64
MAX_STATUS_ITEMS = 1000
#: Longest time that an answer may be kept, whatever it says: 30 days. A slip of the service (a time in
#: milliseconds) must not keep a wrong answer for years.
MAX_CACHE_S = 30 * 24 * 3600
#: Longest wait between calls that is believed: a day, the ceiling of the back-off.
MAX_WAIT_S = 24 * 3600

#: `error` of an answer whose algorithm the service does not know. Only this one means that it *cannot*
#: answer, which a policy may treat mildly; an error that we do not know is an error.
ERROR_UNKNOWN_ALGORITHM = "unknown_algorithm"

#: Stands for an `error` that is not a plain code.
ERROR_OUT_OF_FORM = "error of another form than a code"

#: What an error code looks like. It is logged, so nothing else of the service's gets through...
_ERROR_CODE = re.compile(r"[a-z0-9_]{1,40}")
#: ... and no hash either, which a service may echo: as many digits as the shortest has (MD5).
_HASH_DIGITS = re.compile(r"[0-9a-f]{32}")

_JSON_HEADERS = {"Accept": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmReply:
    """A parsed confirm answer.

    Attributes:
        answers: aligned with the hashes that were asked.
        confirm_id: names this confirmation in later feedback.
        minimum_wait_s: how long the service asks to be left alone before the next call.
    """

    answers: tuple[Answer, ...]
    confirm_id: str
    minimum_wait_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """What a service says about itself. Algorithms that this version does not know are left out.

    Attributes:
        version: of the service, as published.
        algorithms: that it can answer for.
        category_schemes: names of the schemes that its categories come from.
        lists: (name, version) of each list.
        max_hashes_per_call, max_bytes: its limits for one confirm call.
        minimum_wait_s: how long it asks to be left alone between calls.
    """

    version: str
    algorithms: tuple[Algorithm, ...]
    category_schemes: tuple[str, ...]
    lists: tuple[tuple[str, str], ...]
    max_hashes_per_call: int
    max_bytes: int
    minimum_wait_s: int


def pad(body: bytes) -> bytes:
    """Append spaces, which JSON ignores, up to a multiple of `PADDING_BYTES`."""
    return body + b" " * (-len(body) % PADDING_BYTES)


def build_status() -> WireRequest:
    """The request for the service's status."""
    return WireRequest(
        method="GET", path="/v2/status", headers=_JSON_HEADERS, max_answer_bytes=MAX_STATUS_ANSWER_BYTES
    )


def build_confirm(hashes: Sequence[HashValue], ids: Sequence[str]) -> WireRequest:
    """The request that asks about hashes.

    Args:
        hashes: 1 to `MAX_HASHES_PER_CALL`.
        ids: one distinct random text for each; they tie answers to hashes and mean nothing else.

    Raises:
        ValueError: the counts are wrong or an id is repeated.
    """
    if not 1 <= len(hashes) <= MAX_HASHES_PER_CALL or len(set(ids)) != len(ids) or len(ids) != len(hashes):
        raise ValueError(f"a call takes 1 to {MAX_HASHES_PER_CALL} hashes, each with an id of its own")
    asked = [
        {"id": id_, "algorithm": str(value.algorithm), "value": value.hex}
        for id_, value in zip(ids, hashes, strict=True)
    ]
    return WireRequest(
        method="POST",
        path="/v2/confirm",
        headers={**_JSON_HEADERS, "Content-Type": "application/json"},
        body=pad(json.dumps({"hashes": asked}, separators=(",", ":")).encode("utf-8")),
        max_answer_bytes=MAX_CONFIRM_ANSWER_BYTES,
    )


def build_feedback(feedback: Feedback) -> WireRequest:
    """The request that tells the service about one of its answers.

    Raises:
        ValueError: it refers to no answer, or has too many hashes.
    """
    if not feedback.confirm_id or len(feedback.hashes) > MAX_HASHES_PER_CALL:
        raise ValueError("feedback is about one answer of the service, and names it")
    body: dict[str, object] = {
        "confirm_id": feedback.confirm_id,
        "kind": feedback.kind.value,
        "code": feedback.code,
        "hashes": [
            {"id": str(number), "algorithm": str(value.algorithm), "value": value.hex}
            for number, value in enumerate(feedback.hashes)
        ],
    }
    if feedback.done_at is not None:
        body["at"] = feedback.done_at.isoformat(timespec="seconds")
    return WireRequest(
        method="POST",
        path="/v2/feedback",
        headers={
            **_JSON_HEADERS,
            "Content-Type": "application/json",
            "Idempotency-Key": feedback.key,
        },
        body=pad(json.dumps(body, separators=(",", ":")).encode("utf-8")),
        max_answer_bytes=MAX_FEEDBACK_ANSWER_BYTES,
    )


def parse_feedback(body: bytes) -> str:
    """Read the answer to `build_feedback`: the service's name for the feedback.

    Raises:
        WireFormatError: it is not of the contract's form.
    """
    return parse_object(body, where="the feedback answer").text("feedback_id", longest=MAX_TEXT)


def parse_status(body: bytes) -> ServiceStatus:
    """Read a status answer.

    Raises:
        WireFormatError: it is not of the contract's form.
    """
    fields = parse_object(body, where="the status")
    limits = fields.object("limits")
    known = {str(algorithm): algorithm for algorithm in Algorithm}
    names = fields.texts("algorithms", most=MAX_STATUS_ITEMS, longest=MAX_TEXT)
    return ServiceStatus(
        version=fields.text("version", longest=MAX_TEXT),
        algorithms=tuple(known[name] for name in names if name in known),
        category_schemes=fields.texts("category_schemes", most=MAX_STATUS_ITEMS, longest=MAX_TEXT),
        lists=tuple(
            (item.text("name", longest=MAX_TEXT), item.text("version", longest=MAX_TEXT, default=""))
            for item in fields.objects("lists", most=MAX_STATUS_ITEMS)
        ),
        max_hashes_per_call=limits.whole(
            "max_hashes_per_call", low=1, high=1 << 31, default=MAX_HASHES_PER_CALL
        ),
        max_bytes=limits.whole("max_bytes", low=1, high=1 << 31, default=MAX_CONFIRM_ANSWER_BYTES),
        minimum_wait_s=fields.seconds("minimum_wait_s", most=MAX_WAIT_S, default=0),
    )


def parse_confirm(body: bytes, hashes: Sequence[HashValue], ids: Sequence[str]) -> ConfirmReply:
    """Read the answers to `build_confirm(hashes, ids)`, aligned with `hashes` whatever their order.

    Raises:
        WireFormatError: it is not of the contract's form, or an id is missing, repeated or unknown.
    """
    reply = parse_object(body, where="the confirm answer")
    by_id: dict[str, Fields] = {}
    for item in reply.objects("answers", most=MAX_HASHES_PER_CALL, required=True):
        id_ = item.text("id", longest=MAX_TEXT)
        if id_ in by_id:
            raise WireFormatError("an id is answered twice")
        by_id[id_] = item
    if by_id.keys() != set(ids):
        raise WireFormatError(f"{len(ids)} ids were asked; other ids are answered")
    return ConfirmReply(
        answers=tuple(_answer(by_id[id_], value) for id_, value in zip(ids, hashes, strict=True)),
        confirm_id=reply.text("confirm_id", longest=MAX_TEXT),
        minimum_wait_s=reply.seconds("minimum_wait_s", most=MAX_WAIT_S, default=0),
    )


def _answer(item: Fields, asked: HashValue) -> Answer:
    if "error" in item:
        error = item.text("error", longest=MAX_TEXT)
        cannot = error == ERROR_UNKNOWN_ALGORITHM
        return Unanswered(
            hash=asked,
            reason=Reason.SERVICE_CANNOT_CONFIRM if cannot else Reason.SERVICE_ERROR,
            detail=_loggable(error),
        )
    listed = item.flag("listed")
    withdrawn = item.flag("withdrawn", default=False)
    matches = tuple(_match(m, asked) for m in item.objects("matches", most=MAX_MATCHES))
    cache_s = item.seconds("cache_s", most=MAX_CACHE_S, default=0)
    # Listed without a match would be ruled by nobody, unlisted with one by anybody: neither is an answer.
    if listed != bool(matches) or (listed and withdrawn):
        raise WireFormatError("an answer contradicts itself")
    if listed:
        return Listed(hash=asked, matches=matches, cache_s=cache_s)
    return NotListed(hash=asked, withdrawn=withdrawn, cache_s=cache_s)


def _loggable(error: str) -> str:
    """The error code, if it is one and cannot hold a hash, also not one that is cut by underscores."""
    is_code = _ERROR_CODE.fullmatch(error) and not _HASH_DIGITS.search(error.replace("_", ""))
    return error if is_code else ERROR_OUT_OF_FORM


def _match(item: Fields, asked: HashValue) -> Match:
    algorithm = asked.algorithm
    if item.text("algorithm", longest=MAX_TEXT) != algorithm:
        raise WireFormatError(f"a match of another algorithm than {algorithm}")
    widest = 0 if algorithm.is_digest else algorithm.width_bits
    return Match(
        hash=asked,
        distance_bits=item.whole("distance_bits", low=0, high=widest, default=0 if widest == 0 else None),
        exact=algorithm.is_digest,
        sources=item.texts("sources", most=MAX_LABELS, longest=MAX_TEXT),
        categories=tuple(
            Category(
                scheme=category.text("scheme", longest=MAX_TEXT),
                code=category.text("code", longest=MAX_TEXT),
                source=category.text("source", longest=MAX_TEXT, default=""),
            )
            for category in item.objects("categories", most=MAX_LABELS)
        ),
        list_version=item.text("list_version", longest=MAX_TEXT, default=""),
    )
