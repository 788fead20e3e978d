"""The library's main noun: one item in, one decision out.

    scanner = Scanner.from_env()
    decision = scanner.scan(Content.from_path(path))
    if not decision.allowed:
        ...

Promises: `scan` never raises for content, filter, network or recording; each of those is a verdict with a
reason, or a decision that says it was not recorded. Only construction raises. One scan pins one release of
the filter. Thread-safe. Nothing leaves the process for an item without a filter hit.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Self

from iii_client.config import Config, Limits
from iii_client.content import Content
from iii_client.decide import TablePolicy, judge
from iii_client.errors import FilterError, RecordError
from iii_client.filters import BypassFilter
from iii_client.filters.views import Orientation
from iii_client.fingerprint import RECIPES, FingerprintBuilder, HashingPool, build_fingerprint, warm_up
from iii_client.model import (
    ANONYMOUS,
    NO_RELEASE,
    Action,
    Decision,
    Fingerprint,
    Freshness,
    LookUp,
    Mode,
    Outcome,
    Reason,
    Receipt,
    Recipe,
    Recorded,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.protocols import Confirmer, FilterSource, MembershipFilter, Policy, Recorder
from iii_client.records import StateRecorder
from iii_client.service import confirm_items, make_confirmer
from iii_client.updates import FilterStore, LiveFilter

logger = logging.getLogger(__name__)

ScanInput = Content | bytes | os.PathLike[str] | BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanItem:
    """One of many items for `scan_many`."""

    content: Content
    context: UploadContext = ANONYMOUS


class Scanner:
    """Hashes locally, looks up locally, confirms probable hits, decides, and writes down what matters.

    Args:
        filters: hands out the current filter.
        confirmer: asks the service.
        policy: turns verdicts into actions.
        recorder: stores every decision that is not a plain "no match".
        mode: SHADOW allows everything and says what it would have done.
        recipe: how to hash.
        limits: what is read and decoded at most.
        send_own_hash: whether a picture's own perceptual hash, near a listed one, may be sent.
    """

    def __init__(
        self,
        *,
        filters: FilterSource,
        confirmer: Confirmer,
        policy: Policy,
        recorder: Recorder,
        mode: Mode,
        recipe: Recipe,
        limits: Limits,
        send_own_hash: bool = True,
    ) -> None:
        self._filters = filters
        self._confirmer = confirmer
        self._policy = policy
        self._recorder = recorder
        self._mode = mode
        self._recipe = recipe
        self._limits = limits
        self._send_own_hash = send_own_hash

    @classmethod
    def from_env(cls) -> Self:
        """Build from `III_*` environment variables (see `iii_client.config`).

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        return cls.from_config(Config.from_env())

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Build with the library's own parts.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        confirmer = make_confirmer(config.service)
        filters: FilterSource = (
            _FixedFilter(BypassFilter(confirmer.supports))
            if config.filter.bypassed
            else LiveFilter(
                FilterStore(config.state_dir), orientations=tuple(map(Orientation, config.filter.views))
            )
        )
        return cls(
            filters=filters,
            confirmer=confirmer,
            policy=TablePolicy(config.policy),
            recorder=StateRecorder.in_directory(config.state_dir),
            mode=config.mode,
            recipe=RECIPES[config.recipe],
            limits=config.limits,
            send_own_hash=config.service.send_own_hash,
        )

    def scan(self, content: ScanInput, *, context: UploadContext = ANONYMOUS) -> Decision:
        """Look at one item and decide.

        Args:
            content: a `Content`, the bytes, a path object, or a binary file (read from its start, and
                handed back open and at its old position).
            context: where it came from; kept locally.
        """
        (decision,) = self._check([self.fingerprint(content)], [context])
        return decision

    def scan_many(self, items: Iterable[ScanItem], *, jobs: int = 1) -> Iterator[tuple[ScanItem, Decision]]:
        """Look at many items, in order; hash in `jobs` processes and check what is ready as one batch.

        Reads `items` only a bounded number ahead, so an endless iterable is fine. With more than one job,
        a script must guard its work with `if __name__ == "__main__"`.
        """
        with HashingPool(jobs=jobs, recipe=self._recipe, limits=self._limits) as pool:
            for batch in pool.batches(items, lambda item: item.content):
                scanned = [item for item, _ in batch]
                decisions = self._check([found for _, found in batch], [item.context for item in scanned])
                yield from zip(scanned, decisions, strict=True)

    def fingerprint(self, content: ScanInput) -> Fingerprint:
        """Hash one item; no filter, no network."""
        return build_fingerprint(_as_content(content), recipe=self._recipe, limits=self._limits)

    def start_fingerprint(self) -> FingerprintBuilder:
        """Hash an upload while it streams in: `update(chunk)`, then `check([builder.finish()])`."""
        return FingerprintBuilder(recipe=self._recipe, limits=self._limits)

    def check(
        self, fingerprints: Sequence[Fingerprint], *, contexts: Sequence[UploadContext] = ()
    ) -> tuple[Decision, ...]:
        """Decide about items that were hashed before, without reading them again. Aligned.

        Args:
            fingerprints: of this scanner's recipe.
            contexts: where each came from, aligned; none for all anonymous.

        Raises:
            ValueError: contexts that are not aligned.
        """
        if contexts and len(contexts) != len(fingerprints):
            raise ValueError(f"{len(fingerprints)} fingerprints and {len(contexts)} contexts")
        return self._check(fingerprints, contexts or [ANONYMOUS] * len(fingerprints))

    def warm_up(self) -> None:
        """Pay the first scan's costs (imports, tables, opening the filter) now."""
        warm_up()
        self._current_filter()

    def close(self) -> None:
        """Release this thread's handles. The scanner opens them again if it is used again."""
        for part in (self._recorder, self._confirmer):
            close = getattr(part, "close", None)
            if close is not None:
                close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- the steps, in their order ----------------------------------------------------------------------

    def _check(
        self, fingerprints: Sequence[Fingerprint], contexts: Sequence[UploadContext]
    ) -> tuple[Decision, ...]:
        release, found, filter_reasons = self._look_up(fingerprints)
        hits = [look_up.candidates for look_up in found]
        confirmations = confirm_items(hits, self._confirmer, send_own_hash=self._send_own_hash)
        return tuple(
            self._decide(
                judge(
                    fingerprint,
                    candidates=look_up.candidates,
                    confirmation=confirmation,
                    release=release,
                    filter_reasons=(*filter_reasons, *look_up.reasons),
                ),
                context,
            )
            for fingerprint, look_up, confirmation, context in zip(
                fingerprints, found, confirmations, contexts, strict=True
            )
        )

    def _look_up(
        self, fingerprints: Sequence[Fingerprint]
    ) -> tuple[ReleaseId, tuple[LookUp, ...], tuple[Reason, ...]]:
        membership = self._current_filter()
        if membership is None:
            return NO_RELEASE, (LookUp(),) * len(fingerprints), (Reason.NO_FILTER,)
        reasons: tuple[Reason, ...] = ()
        if isinstance(membership, BypassFilter):
            reasons = (Reason.FILTER_BYPASSED,)
        elif membership.freshness is Freshness.EXPIRED:
            # An expired filter still finds what it knew; only its silence proves nothing any more.
            reasons = (Reason.FILTER_EXPIRED,)
        return membership.release, membership.look_up(fingerprints), reasons

    def _current_filter(self) -> MembershipFilter | None:
        try:
            return self._filters.current()
        except FilterError as error:
            logger.warning("no usable filter: %s %s", error, error.hint)
            return None

    def _decide(self, verdict: Verdict, context: UploadContext) -> Decision:
        ruling = self._policy.rule(verdict, context)
        decision = Decision(
            action=ruling.action if self._mode is Mode.ENFORCE else Action.ALLOW,
            ruled=ruling.action,
            rule=ruling.rule,
            verdict=verdict,
            mode=self._mode,
        )
        return self._record(decision, context) if _is_remarkable(verdict) else decision

    def _record(self, decision: Decision, context: UploadContext) -> Decision:
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


def _is_remarkable(verdict: Verdict) -> bool:
    """Whether a verdict is kept as an encounter: anything but a plain "no match".

    A filter hit that the service denied is kept too: false candidates are counted and published. Under a
    bypassed filter every picture is a candidate, which says nothing.
    """
    false_candidate = bool(verdict.candidates) and Reason.FILTER_BYPASSED not in verdict.reasons
    return verdict.outcome is not Outcome.NO_MATCH or false_candidate


class _FixedFilter:
    """A filter source that always hands out the same filter."""

    def __init__(self, membership: MembershipFilter) -> None:
        self._membership = membership

    def current(self) -> MembershipFilter:
        return self._membership


def _as_content(content: ScanInput) -> Content:
    if isinstance(content, Content):
        return content
    if isinstance(content, (bytes, bytearray, memoryview)):
        return Content.from_bytes(bytes(content))
    if isinstance(content, os.PathLike):
        return Content.from_path(content)
    if not hasattr(content, "read"):
        # A text might be a path, a URL or the content itself; guessing would be a hole.
        raise TypeError(f"a {type(content).__name__} is not content; use Content.from_path or from_url")
    return Content.from_file(content)
