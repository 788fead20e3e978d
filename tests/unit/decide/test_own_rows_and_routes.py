"""The policy by list, category, hash, distance, reason and route, and what no configuration can lift."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from iii_client.config import PolicyConfig
from iii_client.decide import TablePolicy
from iii_client.model import ANONYMOUS, Action, Algorithm, Outcome, Reason, Ruling, UploadContext, Verdict

ReadPolicy = Callable[[dict[str, Any]], PolicyConfig]
MakeVerdict = Callable[..., Verdict]
NEAR = Algorithm.PDQ


def allowed(rule: str) -> Ruling:
    return Ruling(action=Action.ALLOW, rule=rule)


def held(rule: str) -> Ruling:
    return Ruling(action=Action.QUARANTINE, rule=rule)


def blocked(rule: str) -> Ruling:
    return Ruling(action=Action.BLOCK, rule=rule)


def row(name: str = "mine", **settings: Any) -> dict[str, Any]:
    return {"name": name, **settings}


@pytest.fixture
def rule(policy_config: ReadPolicy) -> Callable[..., Ruling]:
    def ruling(verdict: Verdict, *own: dict[str, Any], route: str = "", **policy: Any) -> Ruling:
        tree = {**policy, "matches": list(own)} if own else policy
        return TablePolicy(policy_config(tree)).rule(verdict, UploadContext(route=route))

    return ruling


# --- rows of the hoster's own ---------------------------------------------------------------------------


def test_a_list_that_is_distrusted_may_hold_and_not_block(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    distrust = row(sources=["private-*"], at_most="quarantine")
    assert rule(matched(sources=["private-a"]), distrust) == held("mine")
    assert rule(matched(sources=["police"]), distrust) == blocked("matched_exact")


def test_a_list_that_is_distrusted_does_not_soften_what_another_list_says(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    ignore = row(sources=["private-*"], action="allow")
    assert rule(matched(sources=["private-a", "police"]), ignore) == blocked("matched_exact")
    both = matched(
        sources=["private-a", "police"], categories=["ncmec:A1@police", "interpol-baseline:1@private-a"]
    )
    assert rule(both, ignore) == blocked("matched_exact")


def test_at_most_does_not_make_anything_graver(rule: Callable[..., Ruling], matched: MakeVerdict) -> None:
    near = matched(NEAR, bits=9, sources=["police"])
    assert rule(near, row(sources=["police"], at_most="block")).action is Action.QUARANTINE


def test_look_alikes_of_a_trusted_list_may_be_blocked_when_they_are_close(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    close = row(sources=["police"], hashes=["near"], within_bits=12, action="block")
    assert rule(matched(NEAR, bits=12, sources=["police"]), close) == blocked("mine")
    assert rule(matched(NEAR, bits=13, sources=["police"]), close) == held("matched_near")
    assert rule(matched(NEAR, bits=12, sources=["other"]), close) == held("matched_near")


def test_a_row_may_name_a_category_and_a_hash(rule: Callable[..., Ruling], matched: MakeVerdict) -> None:
    weak = row(hashes=["md5"], categories=["ncmec:*"], action="quarantine")
    assert rule(matched(Algorithm.MD5, categories=["ncmec:A1@us"]), weak) == held("mine")
    assert rule(matched(Algorithm.SHA1, categories=["ncmec:A1@us"]), weak) == blocked("matched_exact")
    assert rule(matched(Algorithm.MD5, categories=["iwf:A@uk"]), weak) == blocked("matched_exact")


def test_a_row_that_names_a_list_or_a_category_does_not_fit_a_match_without_any(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    for own in (row(action="allow", sources=["*"]), row(action="allow", categories=["ncmec:*"])):
        assert rule(matched(), own) == blocked("matched_exact")


def test_a_row_may_name_a_list_with_or_without_its_version(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    verdict = matched(list_version="adults@7")
    for pattern in ("adults", "adults@7", "adults@*", "ad*"):
        assert rule(verdict, row(lists=[pattern], at_most="quarantine")) == held("mine")
    for pattern in ("adults@8", "other", "7"):
        assert rule(verdict, row(lists=[pattern], at_most="quarantine")) == blocked("matched_exact")
    assert rule(matched(), row(lists=["*"], action="allow")) == blocked("matched_exact")


def test_a_body_is_ruled_by_the_categories_that_it_published(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    verdict = matched(sources=["police"], categories=["ncmec:A1@police"])
    assert rule(verdict, row(categories=["ncmec:A1"], at_most="quarantine")) == held("mine")


def test_the_category_of_one_body_does_not_lift_the_floor_under_that_of_another(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    verdict = matched(categories=["ncmec:A1@private-a", "clue:1@police"])
    assert rule(verdict, row(sources=["private-*"], at_most="quarantine")).action is Action.QUARANTINE


def test_the_first_row_that_fits_is_taken(rule: Callable[..., Ruling], matched: MakeVerdict) -> None:
    rows = (row("one", sources=["a*"], action="quarantine"), row("two", sources=["*"], action="allow"))
    assert rule(matched(sources=["a1"]), *rows) == held("one")
    assert rule(matched(sources=["b1"]), *rows) == allowed("two")


def test_the_test_picture_is_not_ruled_by_own_rows(rule: Callable[..., Ruling], matched: MakeVerdict) -> None:
    test = matched(categories=["iii-test:test@iii-test"], sources=["iii-test"])
    assert rule(test, row(sources=["*"], action="allow")) == blocked("matched_test")


# --- floors ---------------------------------------------------------------------------------------------


def test_a_category_may_be_below_the_floor_of_blocking_or_of_holding(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    floors = {"blocking_categories": ["a:1"], "quarantine_categories": ["a:*"]}
    assert rule(matched(categories=["a:1@x"]), **floors) == blocked("matched_exact")
    assert rule(matched(categories=["a:2@x"]), **floors) == held("matched_below_floor")
    assert rule(matched(categories=["b:1@x"]), **floors) == allowed("matched_below_both_floors")
    assert rule(matched(NEAR, categories=["b:1@x"]), **floors) == allowed("matched_below_both_floors")
    assert rule(matched(), **floors) == blocked("matched_exact"), "nothing was published to judge by"


def test_what_may_block_may_be_held(rule: Callable[..., Ruling], matched: MakeVerdict) -> None:
    floors = {"blocking_categories": ["a:1"], "quarantine_categories": ["b:*"]}
    assert rule(matched(NEAR, categories=["a:1@x"]), **floors) == held("matched_near")


def test_a_row_of_ones_own_does_not_lift_a_floor(rule: Callable[..., Ruling], matched: MakeVerdict) -> None:
    block = row(sources=["*"], action="block")
    assert rule(matched(categories=["interpol-baseline:2@x"]), block) == held("matched_below_floor")
    noted = matched(categories=["b:1@x"])
    assert rule(noted, block, quarantine_categories=["a:*"]) == allowed("matched_below_both_floors")


def test_the_row_below_both_floors_may_be_set_to_hold(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    settings = {"quarantine_categories": ["a:*"], "rules": {"matched_below_both_floors": "quarantine"}}
    assert rule(matched(categories=["b:1@x"]), **settings) == held("matched_below_both_floors")


# --- what no configuration lifts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loose", [{"bits": 32}, {"bits": 3, "own": True}], ids=["farther than 31 bits", "own hash only"]
)
def test_a_loose_look_alike_is_never_blocked(
    rule: Callable[..., Ruling], matched: MakeVerdict, loose: dict[str, Any]
) -> None:
    everything = row(sources=["*"], action="block")
    verdict = matched(NEAR, sources=["police"], **loose)
    assert rule(verdict, everything, rules={"matched_near": "block"}) == held("matched_near_loose")


def test_a_near_match_of_a_hash_that_did_not_hit_is_loose(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    verdict = replace(matched(NEAR), candidates=())
    assert rule(verdict, rules={"matched_near": "block"}) == held("matched_near_loose")


def test_the_distance_of_near_matches_may_be_narrowed(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    narrow = {"near_bits": 20, "rules": {"matched_near": "block"}}
    assert rule(matched(NEAR, bits=20), **narrow) == blocked("matched_near")
    assert rule(matched(NEAR, bits=21), **narrow) == held("matched_near_loose")


def test_a_look_alike_that_nobody_confirmed_is_never_blocked(
    rule: Callable[..., Ruling], unconfirmed: MakeVerdict
) -> None:
    settings = {"rules": {"unconfirmed_no_answer": "block"}}
    assert rule(unconfirmed(Reason.SERVICE_TIMEOUT), **settings) == blocked("unconfirmed_no_answer")
    assert rule(unconfirmed(Reason.SERVICE_TIMEOUT, NEAR), **settings) == held("unconfirmed_no_answer")


def test_failing_open_when_the_service_is_down_does_not_open_the_door_to_floods(
    rule: Callable[..., Ruling], unconfirmed: MakeVerdict
) -> None:
    settings = {"rules": {"unconfirmed_no_answer": "allow"}}
    assert rule(unconfirmed(Reason.SERVICE_PAUSED), **settings) == allowed("unconfirmed_no_answer")
    assert rule(unconfirmed(Reason.DEFERRED), **settings) == held("unconfirmed_deferred")


def test_a_verdict_that_no_reason_explains_is_held(rule: Callable[..., Ruling], matched: MakeVerdict) -> None:
    for outcome in (Outcome.MATCHED, Outcome.UNCONFIRMED, Outcome.UNSCANNABLE):
        verdict = replace(matched(), outcome=outcome, matches=(), reasons=(Reason.NOT_LISTED,))
        assert rule(verdict).action is Action.QUARANTINE


def test_what_the_hoster_knows_to_be_good_passes_whatever_else_is_said(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    verdict = matched(reasons=[Reason.ALLOW_LISTED, Reason.TRUNCATED])
    assert rule(verdict) == allowed("allow_listed")


# --- reasons --------------------------------------------------------------------------------------------


def test_a_single_reason_may_have_an_action_of_its_own(
    rule: Callable[..., Ruling], unconfirmed: MakeVerdict
) -> None:
    settings = {"rules": {"service_timeout": "allow"}}
    assert rule(unconfirmed(Reason.SERVICE_TIMEOUT), **settings) == allowed("service_timeout")
    assert rule(unconfirmed(Reason.SERVICE_REFUSED), **settings) == held("unconfirmed_no_answer")


def test_a_stale_filter_is_noted_and_may_be_a_reason_to_hold(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    innocent = replace(matched(), outcome=Outcome.NO_MATCH, matches=(), reasons=(Reason.FILTER_STALE,))
    assert rule(innocent) == allowed("no_match")
    assert rule(innocent, rules={"filter_stale": "quarantine"}) == held("filter_stale")
    assert rule(matched(reasons=[Reason.FILTER_STALE])) == blocked("matched_exact")


# --- routes ---------------------------------------------------------------------------------------------


def test_a_route_has_rows_of_its_own_and_the_rest_as_everywhere(
    rule: Callable[..., Ruling], unconfirmed: MakeVerdict, matched: MakeVerdict
) -> None:
    settings = {
        "rules": {"matched_near": "allow"},
        "routes": {"avatar": {"rules": {"unconfirmed_no_answer": "allow"}}},
    }
    waiting = unconfirmed(Reason.SERVICE_TIMEOUT)
    assert rule(waiting, route="avatar", **settings) == allowed("unconfirmed_no_answer")
    assert rule(waiting, route="post", **settings) == held("unconfirmed_no_answer")
    assert rule(matched(NEAR), route="avatar", **settings) == allowed("matched_near")


def test_a_row_of_a_route_covers_the_reasons_that_are_set_elsewhere(
    rule: Callable[..., Ruling], unconfirmed: MakeVerdict
) -> None:
    settings = {
        "rules": {"service_timeout": "allow"},
        "routes": {"avatar": {"rules": {"unconfirmed_no_answer": "quarantine"}}, "post": {}},
    }
    waiting = unconfirmed(Reason.SERVICE_TIMEOUT)
    assert rule(waiting, route="avatar", **settings) == held("unconfirmed_no_answer")
    assert rule(waiting, route="post", **settings) == allowed("service_timeout")


def test_own_rows_of_a_route_come_before_the_common_ones(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    settings = {
        "matches": [row("common", sources=["a"], action="quarantine")],
        "routes": {"avatar": {"matches": [row("avatars", sources=["a"], action="allow")]}},
    }
    assert rule(matched(sources=["a"]), route="avatar", **settings) == allowed("avatars")
    assert rule(matched(sources=["a"]), **settings) == held("common")


def test_a_route_has_floors_and_a_distance_of_its_own(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    settings = {
        "rules": {"matched_near": "block"},
        "routes": {"avatar": {"blocking_categories": ["b:*"], "near_bits": 4}},
    }
    assert rule(matched(categories=["b:1@x"]), route="avatar", **settings) == blocked("matched_exact")
    assert rule(matched(categories=["b:1@x"]), **settings) == held("matched_below_floor")
    assert rule(matched(NEAR, bits=5), route="avatar", **settings) == held("matched_near_loose")


def test_a_route_in_shadow_says_so_with_every_ruling(
    rule: Callable[..., Ruling], matched: MakeVerdict
) -> None:
    settings = {"routes": {"avatar": {"shadow": True}}}
    assert rule(matched(), route="avatar", **settings) == Ruling(
        action=Action.BLOCK, rule="matched_exact", shadow=True
    )
    assert rule(matched(), **settings) == blocked("matched_exact")


# --- version --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        {"rules": {"no_filter": "allow"}},
        {"rules": {"service_timeout": "allow"}},
        {"blocking_categories": ["a:1"]},
        {"quarantine_categories": ["a:1"]},
        {"near_bits": 30},
        {"matches": [row(sources=["a"], action="block")]},
        {"matches": [row(sources=["a"], at_most="block")]},
        {"routes": {"avatar": {"shadow": True}}},
    ],
)
def test_the_version_changes_with_whatever_changes_a_ruling(
    policy_config: ReadPolicy, tree: dict[str, Any]
) -> None:
    assert TablePolicy(policy_config(tree)).version != TablePolicy().version


def test_the_version_is_that_of_the_table_and_not_of_its_spelling(policy_config: ReadPolicy) -> None:
    said_anew = policy_config({"rules": {"no_match": "allow", "matched_exact": "block"}, "near_bits": 31})
    assert TablePolicy(said_anew).version == TablePolicy().version
    orders = [policy_config({"blocking_categories": names}) for names in (["a:1", "b:1"], ["b:1", "a:1"])]
    assert len({TablePolicy(order).version for order in orders}) == 1


def test_every_policy_fits_the_plug(policy_config: ReadPolicy, matched: MakeVerdict) -> None:
    from iii_client.protocols import Policy

    policy: Policy = TablePolicy(policy_config({}))
    assert len(policy.version) == 12
    assert policy.rule(matched(), ANONYMOUS) == blocked("matched_exact")
