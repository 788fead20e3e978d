"""From answers to actions: every outcome, every default row, the category floor."""

from dataclasses import replace

import pytest

from iii_client.config import PolicyConfig
from iii_client.decide import DEFAULT_RULES, TablePolicy, judge
from iii_client.decide.rows import NOTES
from iii_client.errors import ConfigurationError
from iii_client.model import (
    ANONYMOUS,
    TEST_CATEGORY_CODE,
    TEST_CATEGORY_SCHEME,
    Action,
    Algorithm,
    Answer,
    Candidate,
    Category,
    Confirmation,
    Fingerprint,
    HashValue,
    Listed,
    Match,
    NotListed,
    Outcome,
    Reason,
    ReleaseId,
    Ruling,
    Skipped,
    Unanswered,
    Verdict,
)

SHA256 = HashValue(algorithm=Algorithm.SHA256, value=bytes(32))
PDQ = HashValue(algorithm=Algorithm.PDQ, value=bytes(32))
RELEASE = ReleaseId(epoch=1, sequence=0)
BASELINE = Category(scheme="interpol-baseline", code="1", source="list-a")
OTHER = Category(scheme="interpol-baseline", code="2", source="list-a")
TEST = Category(scheme=TEST_CATEGORY_SCHEME, code=TEST_CATEGORY_CODE, source="iii-test")


def listed(*categories: Category, hash_: HashValue = SHA256, distance_bits: int = 0) -> Listed:
    match = Match(
        hash=hash_, distance_bits=distance_bits, exact=hash_.algorithm.is_digest, categories=categories
    )
    return Listed(hash=hash_, matches=(match,))


def verdict_of(
    *answers: Answer, skipped: tuple[Reason, ...] = (), filter_reasons: tuple[Reason, ...] = ()
) -> Verdict:
    return judge(
        Fingerprint(
            recipe="fast-v1",
            size_bytes=1,
            kind="jpeg",
            digests=(SHA256,),
            skipped=tuple(Skipped(what="pixels", reason=reason) for reason in skipped),
        ),
        candidates=tuple(Candidate(hash=answer.hash, section="sha256") for answer in answers),
        confirmation=Confirmation(answers=answers, hashes_sent=len(answers)),
        release=RELEASE,
        filter_reasons=filter_reasons,
    )


def ruling_of(verdict: Verdict, **config: object) -> Ruling:
    return TablePolicy(PolicyConfig(**config)).rule(verdict, ANONYMOUS)  # type: ignore[arg-type]


def test_an_item_without_hits_is_no_match_and_allowed() -> None:
    verdict = verdict_of()
    assert (verdict.outcome, verdict.reasons) == (Outcome.NO_MATCH, ())
    assert ruling_of(verdict) == Ruling(action=Action.ALLOW, rule="no_match")


def test_a_listed_digest_is_blocked() -> None:
    verdict = verdict_of(listed(BASELINE))
    assert verdict.outcome is Outcome.MATCHED
    assert ruling_of(verdict) == Ruling(action=Action.BLOCK, rule="matched_exact")


def test_a_listed_perceptual_hash_is_held_even_at_distance_zero() -> None:
    verdict = verdict_of(listed(BASELINE, hash_=PDQ))
    assert ruling_of(verdict) == Ruling(action=Action.QUARANTINE, rule="matched_near")


def near_verdict(*, listed_distance: int = 0, service_distance: int = 0, own: bool = False) -> Verdict:
    """A confirmed near hit: `listed_distance` is known here, `service_distance` is what the service says."""
    candidate = Candidate(hash=PDQ, section="near/pdq/1", distance_bits=listed_distance, own=own)
    return judge(
        verdict_of().fingerprint,
        candidates=(candidate,),
        confirmation=Confirmation(
            answers=(listed(BASELINE, hash_=PDQ, distance_bits=service_distance),), hashes_sent=1
        ),
        release=RELEASE,
    )


def test_the_distance_of_a_reconstructed_hash_is_that_to_the_picture() -> None:
    (match,) = near_verdict(listed_distance=17).matches
    assert (match.distance_bits, match.exact) == (17, False)


def test_a_near_match_may_be_set_to_block_when_it_is_close_and_the_listed_hash_was_confirmed() -> None:
    block = {"matched_near": "block"}
    assert ruling_of(near_verdict(listed_distance=31), rules=block).action is Action.BLOCK
    for loose in (near_verdict(listed_distance=32), near_verdict(service_distance=12, own=True)):
        assert ruling_of(loose, rules=block) == Ruling(action=Action.QUARANTINE, rule="matched_near_loose")


@pytest.mark.parametrize("row", ["matched_near_loose", "matched_test_near"])
def test_some_rows_may_never_block(row: str) -> None:
    with pytest.raises(ConfigurationError, match="must not block"):
        TablePolicy(PolicyConfig(rules={row: "block"}))


def test_a_search_that_was_cut_off_is_unconfirmed_and_held() -> None:
    verdict = verdict_of(filter_reasons=(Reason.PROBE_OVERFLOW,))
    assert (verdict.outcome, verdict.reasons) == (Outcome.UNCONFIRMED, (Reason.PROBE_OVERFLOW,))
    assert ruling_of(verdict) == Ruling(action=Action.QUARANTINE, rule="unconfirmed_probe_overflow")


def test_a_match_without_categories_is_blocked_as_v1_publishes_none() -> None:
    assert ruling_of(verdict_of(listed())).action is Action.BLOCK


@pytest.mark.parametrize("category", [OTHER, Category(scheme="new-scheme", code="1", source="x")])
def test_a_match_with_no_blocking_category_is_held(category: Category) -> None:
    assert ruling_of(verdict_of(listed(category))) == Ruling(
        action=Action.QUARANTINE, rule="matched_below_floor"
    )


def test_one_blocking_category_is_enough() -> None:
    assert ruling_of(verdict_of(listed(OTHER, BASELINE))).action is Action.BLOCK


def test_the_floor_is_configurable() -> None:
    ruling = ruling_of(verdict_of(listed(OTHER)), blocking_categories=("interpol-baseline:*",))
    assert ruling.rule == "matched_exact"


def test_the_test_picture_is_blocked_exactly_and_its_look_alikes_are_not() -> None:
    assert ruling_of(verdict_of(listed(TEST))) == Ruling(action=Action.BLOCK, rule="matched_test")
    assert ruling_of(verdict_of(listed(TEST, hash_=PDQ))).action is Action.ALLOW


def test_a_hit_that_the_service_denies_is_no_match_with_its_reason() -> None:
    verdict = verdict_of(NotListed(hash=SHA256))
    assert (verdict.outcome, verdict.reasons) == (Outcome.NO_MATCH, (Reason.NOT_LISTED,))
    assert ruling_of(verdict).action is Action.ALLOW
    assert verdict_of(NotListed(hash=SHA256, withdrawn=True)).reasons == (Reason.WITHDRAWN,)


SERVICE_FAULTS = [
    reason
    for reason in Reason
    if reason.value.startswith(("service_", "no_service")) and "cannot" not in reason.value
]


@pytest.mark.parametrize("reason", SERVICE_FAULTS)
def test_a_hit_without_an_answer_is_unconfirmed_and_held(reason: Reason) -> None:
    verdict = verdict_of(Unanswered(hash=SHA256, reason=reason))
    assert (verdict.outcome, verdict.reasons) == (Outcome.UNCONFIRMED, (reason,))
    assert ruling_of(verdict) == Ruling(action=Action.QUARANTINE, rule="unconfirmed_no_answer")


def test_a_hit_that_the_service_can_never_confirm_is_allowed_and_unconfirmed() -> None:
    verdict = verdict_of(Unanswered(hash=PDQ, reason=Reason.SERVICE_CANNOT_CONFIRM))
    assert verdict.outcome is Outcome.UNCONFIRMED
    assert ruling_of(verdict) == Ruling(action=Action.ALLOW, rule="unconfirmed_cannot_confirm")


def test_a_digest_that_the_service_has_no_question_for_is_held() -> None:
    verdict = verdict_of(Unanswered(hash=SHA256, reason=Reason.SERVICE_CANNOT_CONFIRM))
    assert ruling_of(verdict) == Ruling(action=Action.QUARANTINE, rule="unconfirmed_cannot_confirm_digest")


def test_listed_without_a_word_more_is_a_match() -> None:
    verdict = verdict_of(Listed(hash=SHA256, matches=()))
    assert verdict.outcome is Outcome.MATCHED
    assert ruling_of(verdict).rule == "matched_exact"


def test_a_hit_that_was_never_asked_about_is_not_innocent() -> None:
    verdict = judge(
        verdict_of().fingerprint,
        candidates=(Candidate(hash=SHA256, section="sha256"),),
        confirmation=Confirmation(),
        release=RELEASE,
    )
    assert verdict.outcome is Outcome.UNCONFIRMED
    assert ruling_of(verdict).action is not Action.ALLOW


@pytest.mark.parametrize(
    ("reason", "row", "action"),
    [
        (Reason.DECODE_FAILED, "unscannable_content", Action.QUARANTINE),
        (Reason.TRUNCATED, "unscannable_content", Action.QUARANTINE),
        (Reason.TOO_MANY_PIXELS, "unscannable_over_limit", Action.QUARANTINE),
        (Reason.FORMAT_NOT_ENABLED, "format_not_enabled", Action.ALLOW),
        (Reason.FORMAT_NOT_SUPPORTED, "format_not_supported", Action.QUARANTINE),
    ],
)
def test_a_picture_that_was_not_looked_at_is_unscannable(reason: Reason, row: str, action: Action) -> None:
    verdict = verdict_of(skipped=(reason,))
    assert (verdict.outcome, verdict.reasons) == (Outcome.UNSCANNABLE, (reason,))
    assert ruling_of(verdict) == Ruling(action=action, rule=row)


def test_a_file_that_is_no_picture_can_be_no_match() -> None:
    assert verdict_of(skipped=(Reason.NOT_A_PICTURE,)).outcome is Outcome.NO_MATCH


def test_a_listed_digest_outweighs_a_decoder_that_failed() -> None:
    verdict = verdict_of(listed(BASELINE), skipped=(Reason.DECODE_FAILED,))
    assert verdict.outcome is Outcome.MATCHED
    assert ruling_of(verdict) == Ruling(action=Action.BLOCK, rule="matched_exact")


@pytest.mark.parametrize("reason", [Reason.NO_FILTER, Reason.FILTER_EXPIRED])
def test_without_a_usable_filter_nothing_is_innocent(reason: Reason) -> None:
    verdict = verdict_of(filter_reasons=(reason,))
    assert (verdict.outcome, verdict.reasons) == (Outcome.UNSCANNABLE, (reason,))
    assert ruling_of(verdict) == Ruling(action=Action.QUARANTINE, rule=reason.value)


def test_the_gravest_row_wins_when_several_apply() -> None:
    verdict = verdict_of(skipped=(Reason.FORMAT_NOT_ENABLED,), filter_reasons=(Reason.FILTER_EXPIRED,))
    assert ruling_of(verdict).action is Action.QUARANTINE


def test_a_match_that_is_allowed_does_not_excuse_what_was_not_looked_at() -> None:
    verdict = verdict_of(listed(TEST, hash_=PDQ), skipped=(Reason.TRUNCATED,))
    assert ruling_of(verdict).action is Action.QUARANTINE


@pytest.mark.parametrize("row", sorted(DEFAULT_RULES))
def test_every_row_is_one_line_of_configuration(row: str) -> None:
    assert TablePolicy(PolicyConfig(rules={row: "quarantine"}))


def test_an_unknown_row_or_action_is_named() -> None:
    with pytest.raises(ConfigurationError, match="matched_exakt"):
        TablePolicy(PolicyConfig(rules={"matched_exakt": "block"}))
    with pytest.raises(ConfigurationError, match="'delete'"):
        TablePolicy(PolicyConfig(rules={"matched_exact": "delete"}))


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("reason", sorted(set(Reason) - NOTES))
def test_every_reason_that_rules_has_a_row(outcome: Outcome, reason: Reason) -> None:
    verdict = replace(verdict_of(), outcome=outcome, reasons=(reason,))
    assert ruling_of(verdict).rule in DEFAULT_RULES
