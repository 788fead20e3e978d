"""Publishes what is new in exact sections as deltas, and finds out whether a base is due instead."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from iii_client.errors import PublishError
from iii_client.filters import parse_bundle
from iii_client.model import Algorithm
from iii_client.publisher.additions import additions, missing_hashes, removed_count, size_bits
from iii_client.publisher.base_release import coverage_of
from iii_client.publisher.due import State, allowed_bits, base_reasons
from iii_client.publisher.present import Present, Workshop, custom_of, present_bundle, signed_segments
from iii_client.publisher.reports import Description, PublishReport
from iii_client.publisher.sorting import SortedHashes, Values
from iii_client.updates.fields import moment, number
from iii_client.updates.growth import DAY_RATIO
from iii_client.updates.signed_delta import SignedDelta, delta_path

#: A release of lists that lack more than this share of what is published is refused: a list is missing, or
#: the catalogue is, far more often than so much was withdrawn at once; and no hoster would notice.
MAX_REMOVED_RATIO = 0.1
#: So few may always be gone: small lists shrink by halves.
REMOVED_ALWAYS = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the lists compare with the present release, and what that takes.

    Attributes:
        bundle: of the present release.
        missing: hashes for exact sections that it does not find.
        allowed: bits that deltas may set now, by section.
        state: the comparison in numbers.
        base_due: why a base is due; empty when deltas do.
        held: hashes in its exact sections.
        near_held: hashes in near segments.
        newly_withdrawn: of these, listed no more since the base.
    """

    bundle: bytes = field(repr=False)
    missing: Mapping[Algorithm, Values] = field(repr=False)
    allowed: Mapping[str, int]
    state: State
    base_due: tuple[str, ...]
    held: int
    near_held: int
    newly_withdrawn: int


def plan_release(work: Workshop, present: Present, hashes: SortedHashes, description: Description) -> Plan:
    """Compare; builds and writes nothing.

    Raises:
        ConfigurationError: a file of the present release is missing or damaged.
        PublishError: the ledger is damaged.
    """
    bundle = present_bundle(present, work.files)
    exact = work.near.without_held(hashes.exact)
    missing = missing_hashes(bundle, exact)
    allowed = _allowed(work, present, bundle)
    sections = {Algorithm(section.name): section for section in parse_bundle(bundle).sections}
    base = present.base
    built = {segment.target for segment in signed_segments(work.near.segments())}
    withdrawn = work.near.withdrawn_digests(listed=hashes)
    described = (coverage_of(hashes, work.near, description), description.mappings)
    state = State(
        base_age=work.clock() - (base.published_at or work.clock()),
        deltas=len(present.deltas),
        added={algorithm: len(values) for algorithm, values in missing.items()},
        removed=removed_count(bundle, exact, missing),
        room={a: s.header.capacity - s.header.count for a, s in sections.items()},
        allowed={a: allowed[s.name] // s.header.slices for a, s in sections.items()},
        near_ready=work.near.ready(hashes),
        near_pending=built != set(base.near),
        withdrawn_changed=withdrawn != set(base.withdrawn),
        described_changed=described != (base.coverage, base.mappings),
    )
    return Plan(
        bundle=bundle,
        missing=missing,
        allowed=allowed,
        state=state,
        base_due=base_reasons(state),
        held=sum(section.header.count for section in sections.values()),
        near_held=sum(segment.header.count for segment in work.near.segments()),
        newly_withdrawn=len(withdrawn.difference(base.withdrawn)),
    )


def check_removals(plan: Plan, *, most_removed: float) -> None:
    """Refuse lists that lack too much of what is published.

    Raises:
        PublishError: they do; the message has the numbers.
    """
    for what, gone, held in (
        ("exact sections", plan.state.removed, plan.held),
        ("near segments", plan.newly_withdrawn, plan.near_held),
    ):
        if gone > max(REMOVED_ALWAYS, most_removed * held):
            raise PublishError(
                f"{gone:,} of {held:,} hashes in {what} are listed no more, {most_removed:.0%} may be",
                hint="Is a list missing, or the catalogue? If it is right, allow it with --most-removed.",
            )


def publish_deltas(work: Workshop, present: Present, plan: Plan, hashes: SortedHashes) -> PublishReport:
    """Publish as much of what is missing as deltas may add now.

    Raises:
        ConfigurationError: an online key is missing.
        OSError: the folder cannot be written.
    """
    steps = list(additions(plan.bundle, plan.missing, allowed_bits=plan.allowed))
    if steps:
        # Before they are published, and all of it: what waits for another day is published exactly, too.
        work.near.exact.remember(plan.missing)
        now = work.clock().replace(microsecond=0)
        targets = {target.path: target for target in present.deltas}
        for step in steps:
            signed = SignedDelta(release=step.release, result_sha256=step.result_sha256)
            custom = signed.to_custom() | {"published_at": now.isoformat(), "bits": dict(step.bits)}
            path = delta_path(step.release)
            targets[path] = work.files.write(path, step.content, custom=custom)
        work.roles.publish_deltas(targets)
        logger.info("published %d deltas, release %s", len(steps), steps[-1].release)
    if work.roles.can_sign_online:
        # Also after deltas: an offline key that is here may have its own role to sign for a new term.
        work.roles.renew()
    added = sum(sum(step.hashes.values()) for step in steps)
    return PublishReport(
        release=steps[-1].release if steps else present.release,
        changed=bool(steps),
        near=tuple(
            segment.info
            for segment in signed_segments(work.near.segments())
            if segment.target in present.base.near
        ),
        waiting=work.near.count_waiting(hashes),
        deltas=len(steps),
        added=added,
        left=sum(plan.state.added.values()) - added,
        removed=plan.state.removed,
        base_due=plan.base_due,
    )


def _allowed(work: Workshop, present: Present, bundle: bytes) -> dict[str, int]:
    now = work.clock()
    earlier = [(moment(custom, "published_at"), custom["bits"]) for custom in map(custom_of, present.deltas)]
    return {
        section.name: allowed_bits(
            size_bits(section),
            base_at=present.base.published_at or now,
            set_before=[(at, number(bits, section.name, 0)) for at, bits in earlier if section.name in bits],
            now=now,
            day_ratio=DAY_RATIO,
        )
        for section in parse_bundle(bundle).sections
    }
