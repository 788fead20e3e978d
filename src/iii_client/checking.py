"""Fingerprints in, decisions out: look up, ask, judge, rule, record.

Promises: one call pins one release of the filter; nothing leaves for an item without a filter hit; nothing
is raised for filter, network or recording, each is a verdict with a reason or a decision that says that it
was not recorded; what fails beside the way (allow-list, budgets, memory) never makes a decision milder.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from iii_client.decide import judge, review_only
from iii_client.errors import FilterError, RecordError
from iii_client.filters import BypassFilter
from iii_client.model import (
    NO_RELEASE,
    Action,
    Candidate,
    Confirmation,
    Decision,
    Fingerprint,
    Freshness,
    LookUp,
    Mode,
    Outcome,
    Reason,
    Receipt,
    Recorded,
    ReleaseId,
    Remembered,
    Unanswered,
    UploadContext,
    Verdict,
)
from iii_client.protocols import (
    AllowList,
    Confirmer,
    FilterSource,
    HitGuard,
    MembershipFilter,
    Memory,
    Observer,
    Policy,
    Recorder,
)
from iii_client.service import confirm_items
from iii_client.test_picture import listed_picture_sha256

logger = logging.getLogger(__name__)


#: The fingerprint itself where a second look finds the same, else one without its perceptual hashes.
SecondLook = Callable[[Fingerprint], Fingerprint]


@dataclass(frozen=True, slots=True)
class _Pinned:
    """The filter of one call: a snapshot, or none, and what its state means for every verdict."""

    membership: MembershipFilter | None
    release: ReleaseId
    reasons: tuple[Reason, ...]


class Checker:
    """Decides about items that were hashed. Thread-safe.

    Args:
        filters: hands out the current filter.
        confirmer: asks the service.
        policy: turns verdicts into actions.
        recorder: stores every decision that is not a plain "no match".
        mode: SHADOW allows everything and says what it would have done.
        send_own_hash: whether a picture's own perceptual hash, near a listed one, may be sent.
        allow_list: digests that the hoster knows to be good.
        guard: budgets of filter hits.
        memory: remembers for which bytes "no match" was concluded.
        observers: count what happens.
        views: how pictures are laid for the look-up; part of what "no match" means.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        filters: FilterSource,
        confirmer: Confirmer,
        policy: Policy,
        recorder: Recorder,
        mode: Mode,
        send_own_hash: bool = True,
        allow_list: AllowList | None = None,
        guard: HitGuard | None = None,
        memory: Memory | None = None,
        observers: Sequence[Observer] = (),
        views: Sequence[str] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._filters = filters
        self._confirmer = confirmer
        self._policy = policy
        self._recorder = recorder
        self._mode = mode
        self._send_own_hash = send_own_hash
        self._allow_list = allow_list
        self._guard = guard
        self._memory = memory
        self._observers = tuple(observers)
        self._views = ",".join(views)
        self._clock = clock

    def check(
        self,
        seen: Sequence[Remembered],
        contexts: Sequence[UploadContext],
        *,
        look_again: Sequence[SecondLook] = (),
    ) -> tuple[Decision, ...]:
        """Decide about each item; all are looked up and asked about as one batch. Aligned.

        Args:
            seen: fingerprints, and what is remembered of them.
            contexts: where each came from.
            look_again: looks at an item's pixels a second time, before anything is done about a hit that
                rests on them; for each item, or none.
        """
        started_s = self._clock()
        pinned = self._pin()
        found = self._look_up(pinned, seen)
        if look_again:
            seen, found = _seen_twice(seen, found, look_again)
        hits = [look_up.candidates for look_up in found]
        known_good = [
            self._is_allow_listed(item.fingerprint) if item_hits else False
            for item, item_hits in zip(seen, hits, strict=True)
        ]
        budgets = self._exhausted_budgets(
            [
                () if good or _counts_in_no_budget(pinned, item.fingerprint) else item_hits
                for good, item, item_hits in zip(known_good, seen, hits, strict=True)
            ],
            contexts,
        )
        confirmations = self._confirm(hits, known_good, budgets)
        decisions = tuple(
            self._record(
                self._decide(
                    judge(
                        item.fingerprint,
                        candidates=look_up.candidates,
                        confirmation=confirmation,
                        release=pinned.release,
                        filter_reasons=(*pinned.reasons, *look_up.reasons),
                    ),
                    context,
                    budget,
                ),
                context,
            )
            for item, look_up, confirmation, context, budget in zip(
                seen, found, confirmations, contexts, budgets, strict=True
            )
        )
        self._learn(pinned, seen, decisions)
        if self._observers and decisions:
            seconds = (self._clock() - started_s) / len(decisions)
            for item, decision in zip(seen, decisions, strict=True):
                for observer in self._observers:
                    observer.scanned(decision, seconds=seconds, recalled=item.recalled)
        return decisions

    def current_filter(self) -> MembershipFilter | None:
        """The filter of this moment; None when there is none that can be used."""
        try:
            return self._filters.current()
        except FilterError as error:
            logger.warning("no usable filter: %s %s", error, error.hint)
            return None

    # --- the steps, in their order ----------------------------------------------------------------------

    def _pin(self) -> _Pinned:
        membership = self.current_filter()
        if membership is None:
            return _Pinned(None, NO_RELEASE, (Reason.NO_FILTER,))
        reasons: tuple[Reason, ...] = ()
        if isinstance(membership, BypassFilter):
            reasons = (Reason.FILTER_BYPASSED,)
        elif membership.freshness is Freshness.EXPIRED:
            # An expired filter still finds what it knew; only its silence proves nothing any more.
            reasons = (Reason.FILTER_EXPIRED,)
        elif membership.freshness is Freshness.STALE:
            reasons = (Reason.FILTER_STALE,)
        return _Pinned(membership, membership.release, reasons)

    def _look_up(self, pinned: _Pinned, seen: Sequence[Remembered]) -> list[LookUp]:
        """What the filter says; not asked again about bytes for which this very filter said nothing."""
        if pinned.membership is None:
            return [_NOTHING] * len(seen)
        key = self._no_match_key(pinned)
        open_items = [index for index, item in enumerate(seen) if not key or item.no_match_key != key]
        found = [_NOTHING] * len(seen)
        if open_items:
            answers = pinned.membership.look_up([seen[index].fingerprint for index in open_items])
            for index, answer in zip(open_items, answers, strict=True):
                found[index] = answer
        return found

    def _exhausted_budgets(
        self, hits: Sequence[Sequence[Candidate]], contexts: Sequence[UploadContext]
    ) -> tuple[str, ...]:
        if self._guard is None or not any(hits):
            return ("",) * len(hits)
        try:
            return self._guard.exhausted(hits, contexts)
        except RecordError as error:
            # Without counts nothing is softened: the policy rules as always.
            logger.warning("budgets of filter hits cannot be read: %s", error)
            return ("",) * len(hits)

    def _confirm(
        self,
        hits: Sequence[Sequence[Candidate]],
        known_good: Sequence[bool],
        budgets: Sequence[str],
    ) -> tuple[Confirmation, ...]:
        """Answers for each item. About those that are known to be good, or over a budget, nobody is asked."""
        held_back = [
            Reason.ALLOW_LISTED if good else Reason.DEFERRED if budget else None
            for good, budget in zip(known_good, budgets, strict=True)
        ]
        asked = confirm_items(
            [() if reason else item_hits for reason, item_hits in zip(held_back, hits, strict=True)],
            self._confirmer,
            send_own_hash=self._send_own_hash,
        )
        return tuple(
            Confirmation(answers=(Unanswered(hash=item_hits[0].hash, reason=reason),)) if reason else answer
            for answer, reason, item_hits in zip(asked, held_back, hits, strict=True)
        )

    def _is_allow_listed(self, fingerprint: Fingerprint) -> bool:
        if self._allow_list is None:
            return False
        try:
            return bool(self._allow_list.allowed(fingerprint.digests))
        except RecordError as error:
            logger.warning("the allow-list cannot be read: %s", error)
            return False

    def _decide(self, verdict: Verdict, context: UploadContext, budget: str) -> Decision:
        ruling = self._policy.rule(verdict, context)
        mode = Mode.SHADOW if ruling.shadow else self._mode
        action = review_only(ruling, guard=budget).action
        return Decision(
            action=action if mode is Mode.ENFORCE else Action.ALLOW,
            ruled=ruling.action,
            rule=ruling.rule,
            verdict=verdict,
            mode=mode,
            guard=budget,
        )

    def _record(self, decision: Decision, context: UploadContext) -> Decision:
        if not _is_remarkable(decision):
            return decision
        try:
            receipt, recorded = self._recorder.record(decision, context), Recorded.RECORDED
        except RecordError as error:
            # The ruled action stays in force: an upload is never let through because a disk is full.
            logger.error(  # noqa: TRY400 - a traceback would carry paths and values
                "a decision could not be recorded: %s %s", error, error.hint
            )
            receipt, recorded = Receipt(encounter_id=""), Recorded.FAILED
        return replace(
            decision,
            encounter_id=receipt.encounter_id,
            case_reference=receipt.case_reference,
            recorded=recorded,
        )

    def _learn(self, pinned: _Pinned, seen: Sequence[Remembered], decisions: Sequence[Decision]) -> None:
        if self._memory is None:
            return
        key = self._no_match_key(pinned)
        for item, decision in zip(seen, decisions, strict=True):
            # A hit that was denied is looked up again each time: it is counted each time.
            plain = decision.verdict.outcome is Outcome.NO_MATCH and not decision.verdict.candidates
            if plain and key:
                if item.no_match_key != key:
                    self._memory.remember_no_match(item.fingerprint, key=key)
            elif not item.recalled:
                self._memory.remember(item.fingerprint)

    def _no_match_key(self, pinned: _Pinned) -> str:
        """What "no match" rests on beside the bytes and the recipe; empty when it must not be kept."""
        if pinned.membership is None or set(pinned.reasons) - {Reason.FILTER_STALE}:
            return ""
        return f"{pinned.membership.contents}/{self._policy.version}/{self._views}"


def _seen_twice(
    seen: Sequence[Remembered], found: Sequence[LookUp], look_again: Sequence[SecondLook]
) -> tuple[list[Remembered], list[LookUp]]:
    """Hits that rest on pixels go where a second look does not find the same."""
    items, answers = list(seen), list(found)
    for index, (item, answer, look) in enumerate(zip(seen, found, look_again, strict=True)):
        exact = tuple(hit for hit in answer.candidates if hit.hash.algorithm.is_digest)
        if len(exact) == len(answer.candidates):
            continue
        again = look(item.fingerprint)
        if again is not item.fingerprint:
            items[index] = Remembered(fingerprint=again)
            answers[index] = replace(answer, candidates=exact)
    return items, answers


_NOTHING = LookUp()
_NOT_ASKED = Confirmation()


def _counts_in_no_budget(pinned: _Pinned, fingerprint: Fingerprint) -> bool:
    """Under a bypassed filter every picture is a candidate, and a batch of them is no flood. The test picture
    is there to try the whole path, also while a budget is used up."""
    is_test = any(digest.value == listed_picture_sha256() for digest in fingerprint.digests)
    return is_test or Reason.FILTER_BYPASSED in pinned.reasons


def _is_remarkable(decision: Decision) -> bool:
    """Whether a decision is kept as an encounter: any but that to let through a plain "no match".

    A filter hit that the service denied is kept too: false candidates are counted and published. Under a
    bypassed filter every picture is a candidate, which says nothing.
    """
    verdict = decision.verdict
    false_candidate = bool(verdict.candidates) and Reason.FILTER_BYPASSED not in verdict.reasons
    held = decision.ruled is not Action.ALLOW
    return verdict.outcome is not Outcome.NO_MATCH or false_candidate or held
