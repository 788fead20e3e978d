"""Whatever a policy says and whatever was found: a slow reference agrees, and the hard limits hold."""

from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from iii_client.config import MatchRow, PolicyConfig, RouteConfig
from iii_client.decide import DEFAULT_RULES, TablePolicy, review_only
from iii_client.decide.rows import NOTES, ROW_BY_NAME, ROW_OF_REASON
from iii_client.model import (
    Action,
    Algorithm,
    Candidate,
    Category,
    Fingerprint,
    HashValue,
    Match,
    Outcome,
    Reason,
    ReleaseId,
    UploadContext,
    Verdict,
)

LISTS = ("police", "private-a", "private-b")
CATEGORIES = tuple(
    Category(scheme=scheme, code=code, source=source)
    for scheme, code, source in product(("ncmec", "other", "iii-test"), ("A1", "test"), LISTS)
)
HASHES = tuple(
    HashValue(algorithm=algorithm, value=bytes([n]) * (algorithm.width_bits // 8))
    for algorithm, n in product((Algorithm.SHA256, Algorithm.MD5, Algorithm.PDQ), (1, 2))
)
ACTIONS = [action.value for action in Action]


def permitted(name: str) -> list[str]:
    row = ROW_BY_NAME[ROW_OF_REASON[Reason(name)] if name not in DEFAULT_RULES else name]
    return [action.value for action in Action if action not in row.never]


rules = st.dictionaries(
    st.sampled_from([*DEFAULT_RULES, "service_timeout", "decode_failed", "deferred"]), st.just(""), max_size=5
).flatmap(lambda names: st.fixed_dictionaries({name: st.sampled_from(permitted(name)) for name in names}))
patterns = st.lists(st.sampled_from(["*", "ncmec:*", "other:A1", "iii-test:*"]), max_size=2).map(tuple)
own_rows = st.lists(
    st.builds(
        lambda effect, action, **conditions: MatchRow(**conditions, **{effect: action}),
        effect=st.sampled_from(["action", "at_most"]),
        action=st.sampled_from(ACTIONS),
        name=st.just(""),
        sources=st.lists(st.sampled_from(["*", "police", "private-*"]), max_size=2).map(tuple),
        categories=patterns,
        hashes=st.lists(st.sampled_from(["exact", "near", "md5"]), max_size=2).map(tuple),
        within_bits=st.none() | st.integers(0, 31),
    ),
    max_size=3,
).map(lambda rows: tuple(replace(row, name=f"own {n}") for n, row in enumerate(rows)))
configs = st.builds(
    PolicyConfig,
    rules=rules,
    blocking_categories=patterns,
    quarantine_categories=patterns,
    near_bits=st.integers(0, 31),
    matches=own_rows,
)
matches = st.builds(
    lambda value, bits, sources, categories: Match(
        hash=value,
        distance_bits=0 if value.algorithm.is_digest else bits,
        exact=value.algorithm.is_digest,
        sources=tuple(sources),
        categories=tuple(categories),
    ),
    st.sampled_from(HASHES),
    st.integers(0, 60),
    st.lists(st.sampled_from(LISTS), max_size=2, unique=True),
    st.lists(st.sampled_from(CATEGORIES), max_size=3),
)
candidates = st.builds(Candidate, hash=st.sampled_from(HASHES), section=st.just(""), own=st.booleans())
verdicts = st.builds(
    lambda outcome, found, hits, reasons: Verdict(
        outcome=Outcome.MATCHED if found else outcome,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="jpeg"),
        candidates=tuple({hit.hash: hit for hit in hits}.values()),
        matches=tuple(found),
        reasons=tuple(dict.fromkeys(reasons)),
        release=ReleaseId(epoch=1, sequence=0),
    ),
    st.sampled_from(Outcome),
    st.lists(matches, max_size=3),
    st.lists(candidates, max_size=3),
    st.lists(st.sampled_from(Reason), max_size=3),
)
everywhere = UploadContext()


def is_close(match: Match, verdict: Verdict, bits: int) -> bool:
    hits = [hit for hit in verdict.candidates if hit.hash == match.hash]
    return bool(hits) and not hits[0].own and match.distance_bits <= bits


def fits_any(text: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def slow_reference(verdict: Verdict, config: PolicyConfig) -> Action:
    """The documentation's sentences, one after the other, over every list and category of every match."""

    def of(row: str) -> Action:
        return Action(config.rules.get(row, DEFAULT_RULES[row].value))

    if Reason.ALLOW_LISTED in verdict.reasons:
        return of("allow_listed")
    actions = []
    for reason in set(verdict.reasons) - NOTES:
        row = ROW_OF_REASON[reason]
        action = Action(config.rules.get(reason.value, of(row).value))
        looks_only = all(not hit.hash.algorithm.is_digest for hit in verdict.candidates)
        if row == "unconfirmed_no_answer" and looks_only and action is Action.BLOCK:
            action = Action.QUARANTINE
        actions.append(action)
    for match in verdict.matches:
        if match.categories and all((c.scheme, c.code) == ("iii-test", "test") for c in match.categories):
            actions.append(of("matched_test" if match.exact else "matched_test_near"))
            continue
        quiet = set(match.sources) - {category.source for category in match.categories}
        said: list[tuple[str, list[Category], str]] = [
            (category.source, [category], f"{category.scheme}:{category.code}")
            for category in match.categories
        ]
        said += [(source, list(match.categories), "") for source in quiet]
        for source, published, category_text in said or [("", [], "")]:
            names = [f"{category.scheme}:{category.code}" for category in published]
            below_block = bool(names) and not any(fits_any(n, config.blocking_categories) for n in names)
            below_hold = below_block and not any(fits_any(n, config.quarantine_categories) for n in names)
            loose = not match.exact and not is_close(match, verdict, config.near_bits)
            row = "matched_exact" if match.exact else "matched_near_loose" if loose else "matched_near"
            row = "matched_below_both_floors" if below_hold else "matched_below_floor" if below_block else row
            action = of(row)
            for own in config.matches:
                algorithms = {"exact": match.exact, "near": not match.exact, match.hash.algorithm.value: True}
                if (
                    (not own.sources or (source and fits_any(source, own.sources)))
                    and (not own.categories or (category_text and fits_any(category_text, own.categories)))
                    and (not own.hashes or any(algorithms.get(name, False) for name in own.hashes))
                    and (own.within_bits is None or match.distance_bits <= own.within_bits)
                ):
                    action = Action(own.action) if own.action else min(action, Action(own.at_most))
                    break
            if loose or below_block:
                action = min(action, Action.QUARANTINE)
            if below_hold:
                action = min(action, of("matched_below_both_floors"))
            actions.append(action)
    if verdict.outcome is Outcome.NO_MATCH:
        actions.append(of("no_match"))
    if not actions:
        return of(
            "unscannable_content" if verdict.outcome is Outcome.UNSCANNABLE else "unconfirmed_no_answer"
        )
    return max(actions)


@settings(max_examples=300, deadline=None)
@given(config=configs, verdict=verdicts)
def test_the_ruling_is_that_of_the_slow_reference(config: PolicyConfig, verdict: Verdict) -> None:
    explained = verdict.matches or set(verdict.reasons) - NOTES or verdict.outcome is Outcome.NO_MATCH
    ruling = TablePolicy(config).rule(verdict, everywhere)
    if explained:
        assert ruling.action is slow_reference(verdict, config)
    assert ruling.rule in {*DEFAULT_RULES, *Reason, *(row.name for row in config.matches)}


@settings(max_examples=200, deadline=None)
@given(config=configs, verdict=verdicts)
def test_looks_alone_never_block(config: PolicyConfig, verdict: Verdict) -> None:
    """Nothing but look-alikes that were not confirmed for the listed hash within 31 bits."""
    loose = replace(
        verdict,
        candidates=tuple(hit for hit in verdict.candidates if not hit.hash.algorithm.is_digest),
        matches=tuple(m for m in verdict.matches if not m.exact and not is_close(m, verdict, 31)),
        # Of the reasons, those that are about a probable hit.
        reasons=tuple(r for r in verdict.reasons if ROW_OF_REASON.get(r, "").startswith("unconfirmed_no")),
    )
    if loose.matches or loose.reasons:
        loose = replace(loose, outcome=Outcome.MATCHED if loose.matches else Outcome.UNCONFIRMED)
        assert TablePolicy(config).rule(loose, everywhere).action is not Action.BLOCK


@settings(max_examples=200, deadline=None)
@given(config=configs, verdict=verdicts, guard=st.sampled_from(["uploader", "hash", "overall"]))
def test_a_used_up_budget_neither_lets_through_nor_blocks(
    config: PolicyConfig, verdict: Verdict, guard: str
) -> None:
    kept = tuple(reason for reason in verdict.reasons if reason is not Reason.ALLOW_LISTED)
    deferred = replace(verdict, outcome=Outcome.UNCONFIRMED, reasons=(*kept, Reason.DEFERRED))
    ruling = review_only(TablePolicy(config).rule(deferred, everywhere), guard=guard)
    assert ruling.action is Action.QUARANTINE


@settings(max_examples=200, deadline=None)
@given(config=configs, verdict=verdicts, extra=matches)
def test_another_match_never_softens_a_ruling(config: PolicyConfig, verdict: Verdict, extra: Match) -> None:
    if verdict.matches:
        policy = TablePolicy(config)
        more = replace(verdict, matches=(*verdict.matches, extra))
        assert policy.rule(more, everywhere).action >= policy.rule(verdict, everywhere).action


@settings(max_examples=100, deadline=None)
@given(config=configs, other=configs, verdict=verdicts)
def test_policies_of_one_version_rule_alike(
    config: PolicyConfig, other: PolicyConfig, verdict: Verdict
) -> None:
    one, two = TablePolicy(config), TablePolicy(other)
    if one.version == two.version:
        assert one.rule(verdict, everywhere) == two.rule(verdict, everywhere)
    assert TablePolicy(replace(config)).version == one.version


@settings(max_examples=100, deadline=None)
@given(config=configs, verdict=verdicts)
def test_a_route_that_says_nothing_is_as_everywhere(config: PolicyConfig, verdict: Verdict) -> None:
    policy = TablePolicy(replace(config, routes={"avatar": RouteConfig()}))
    assert policy.rule(verdict, UploadContext(route="avatar")) == policy.rule(verdict, everywhere)
