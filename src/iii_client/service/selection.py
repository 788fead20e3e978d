"""Which hash of an item leaves the process, and when a second one may.

    candidates of an item ──► next_hash ──► at most one hash ──► its answer ──► next_hash ──► …

Promises: an item without candidates sends nothing; a picture sends one hash, the strongest that hit and that
the service can answer for; a further one only while every answer so far is "not listed" or "cannot tell",
and only if it can still tell something new: after "not listed" for one digest of the exact bytes, the
other digests of these bytes cannot. A hit that the service cannot answer for is `Unanswered`, not absent.

Each frame of an animation is a picture of its own here. An answer about one says nothing about the others:
whoever puts a frame of the harmless test picture, of a withdrawn one, or of one that a policy lets through,
before the frame that matters must not have the question end there.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from iii_client.model import (
    DIGEST_ALGORITHMS,
    PERCEPTUAL_ALGORITHMS,
    Algorithm,
    Answer,
    Candidate,
    Confirmation,
    HashValue,
    Listed,
    NotListed,
    Reason,
    Unanswered,
)
from iii_client.protocols import Confirmer

#: Items that share one batch, and with it one budget of the confirmer: the most hashes of one v2 call.
ITEMS_PER_BATCH = 100

_ORDER = (*DIGEST_ALGORITHMS, *PERCEPTUAL_ALGORITHMS)


def next_hash(
    candidates: Sequence[Candidate], answers: Sequence[Answer], *, supports: Callable[[Algorithm], bool]
) -> Answer | HashValue | None:
    """What to do next for one item. Pure.

    Args:
        candidates: all filter hits of the item.
        answers: what is known about them so far.
        supports: whether the service can answer for an algorithm.

    Returns:
        The hash to ask about; or an `Unanswered` to add without asking, for a hit that the service cannot
        answer for; or None when the item is settled.
    """
    if any(_settles_all(answer) for answer in answers):
        return None
    known = {answer.hash for answer in answers}
    told = {answer.hash for answer in answers if _settles_picture(answer)}
    told_frames = {hit.frame for hit in candidates if hit.hash in told}
    denied = {answer.hash.algorithm for answer in answers if isinstance(answer, NotListed)}
    unable = {answer.hash.algorithm for answer in answers if isinstance(answer, Unanswered)}
    bytes_denied = any(algorithm.is_digest for algorithm in denied)
    open_hits = [
        value
        for value in _in_order([hit for hit in candidates if hit.frame not in told_frames])
        if value not in known and not (value.algorithm.is_digest and (bytes_denied or told))
    ]
    for value in open_hits:
        if supports(value.algorithm) and value.algorithm not in unable:
            return value
    if not open_hits:
        return None
    return Unanswered(hash=open_hits[0], reason=Reason.SERVICE_CANNOT_CONFIRM)


def confirm_items(
    candidates: Sequence[Sequence[Candidate]],
    confirmer: Confirmer,
    *,
    send_own_hash: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Confirmation, ...]:
    """Confirm the filter hits of many items, batched over all of them.

    Args:
        candidates: filter hits of each item; empty for an item that did not hit.
        confirmer: the service.
        send_own_hash: whether a picture's own perceptual hash, near a listed one, may be sent at all. If
            not, a hit that only it could settle is `Unanswered` (`OWN_HASH_WITHHELD`).
        clock: monotonic seconds.

    Returns:
        One confirmation for each item, aligned: the answers in the order they were asked for, how many
        hashes of this item left, and the id of its last confirmation. Empty for an item without hits.
        When several items share a hash, it leaves once and counts for each of them.
    """
    items = [_Item(hits, send_own_hash=send_own_hash) for hits in candidates]
    hit = [item for item in items if item.candidates]
    for start in range(0, len(hit), ITEMS_PER_BATCH):
        _settle(hit[start : start + ITEMS_PER_BATCH], confirmer, clock)
    return tuple(item.confirmation() for item in items)


class _Item:
    """The answers of one item as they come in."""

    def __init__(self, candidates: Sequence[Candidate], *, send_own_hash: bool) -> None:
        self.candidates = [hit for hit in candidates if send_own_hash or not hit.own]
        self.answers: list[Answer] = []
        if candidates and not self.candidates:
            self.answers.append(Unanswered(hash=candidates[0].hash, reason=Reason.OWN_HASH_WITHHELD))
        self.hashes_sent = 0
        self.confirm_id = ""

    def advance(self, supports: Callable[[Algorithm], bool]) -> HashValue | None:
        """The next hash to ask about; adds on the way what needs no asking."""
        while True:
            step = next_hash(self.candidates, self.answers, supports=supports)
            if step is None or isinstance(step, HashValue):
                return step
            self.answers.append(step)

    def confirmation(self) -> Confirmation:
        return Confirmation(
            answers=tuple(self.answers), hashes_sent=self.hashes_sent, confirm_id=self.confirm_id
        )


def _settle(items: Sequence[_Item], confirmer: Confirmer, clock: Callable[[], float]) -> None:
    """Ask round by round within one budget, each item about at most one hash a round."""
    started_s = clock()
    while asking := _to_ask(items, confirmer):
        hashes = tuple(dict.fromkeys(asking.values()))
        spent_s = clock() - started_s
        reply = confirmer.confirm(hashes, spent_s=spent_s)
        answers = dict(zip(hashes, reply.answers, strict=True))
        for index, value in asking.items():
            item, answer = items[index], answers[value]
            item.answers.append(answer)
            if value not in reply.recalled:
                # A remembered answer is not of this call, and a dispute must not name it so.
                item.confirm_id = reply.confirm_id or item.confirm_id
            item.hashes_sent += _left(answer, reply)


def _to_ask(items: Sequence[_Item], confirmer: Confirmer) -> Mapping[int, HashValue]:
    steps = ((index, item.advance(confirmer.supports)) for index, item in enumerate(items))
    return {index: value for index, value in steps if value is not None}


def _settles_all(answer: Answer) -> bool:
    """Whether nothing more is asked about the item: its bytes are known, or the service is in trouble."""
    if isinstance(answer, Unanswered):
        return answer.reason is not Reason.SERVICE_CANNOT_CONFIRM
    return answer.hash.algorithm.is_digest and _settles_picture(answer)


def _settles_picture(answer: Answer) -> bool:
    """Whether nothing more is asked about the picture that this hash is of."""
    return isinstance(answer, Listed) or (isinstance(answer, NotListed) and answer.withdrawn)


def _left(answer: Answer, reply: Confirmation) -> int:
    """1 when this hash left the process. A batch of which only a part left does not say which: an answer
    that was not remembered proves that its hash did, and of the others every one may have, so it counts."""
    if answer.hash in reply.recalled:
        return 0
    return int(isinstance(answer, (Listed, NotListed)) or reply.hashes_sent > 0)


def _in_order(candidates: Sequence[Candidate]) -> tuple[HashValue, ...]:
    """Distinct hashes: strongest digest first, then listed perceptual ones, the likeliest first, then the
    picture's own, which is near a listed one but is nobody's business before those were denied."""
    ranked = sorted(
        candidates,
        key=lambda hit: (
            hit.own,
            _ORDER.index(hit.hash.algorithm),
            hit.distance_bits,
            -hit.chain_length,
            hit.flips,
        ),
    )
    return tuple(dict.fromkeys(hit.hash for hit in ranked))
