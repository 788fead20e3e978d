"""The policy in words, and what is probably not meant."""

from collections.abc import Callable
from typing import Any

import pytest

from iii_client.config import GuardConfig, PolicyConfig
from iii_client.decide import DEFAULT_RULES, TablePolicy
from iii_client.decide.explain import explain
from iii_client.decide.lint import Finding, Level, lint
from iii_client.decide.rows import ROW_OF_REASON
from iii_client.model import Mode

ReadPolicy = Callable[[dict[str, Any]], PolicyConfig]


def texts(config: PolicyConfig, route: str = "", guard: GuardConfig | None = None) -> dict[str, str]:
    sentences = explain(TablePolicy(config).table(route), guard or GuardConfig())
    return {sentence.row or sentence.text: sentence.text for sentence in sentences}


def test_every_row_is_one_sentence() -> None:
    said = texts(PolicyConfig())
    assert set(DEFAULT_RULES) <= set(said)
    assert said["matched_exact"] == "An exact copy of a listed file is blocked."
    assert said["no_match"].endswith("is let through.")
    for text in said.values():
        assert text.endswith(".")
        assert "{" not in text


def test_only_what_is_not_the_default_is_marked(policy_config: ReadPolicy) -> None:
    config = policy_config({"rules": {"no_filter": "allow", "too_large": "block"}})
    sentences = explain(TablePolicy(config).table(""), GuardConfig())
    changed = {s.row: s.text for s in sentences if s.changed}
    assert set(changed) == {"no_filter", "too_large"}
    assert changed["too_large"] == "… and when the reason is too_large, it is blocked."
    assert not [s for s in explain(TablePolicy().table(""), GuardConfig()) if s.changed]


def test_own_rows_floors_and_distance_are_said(policy_config: ReadPolicy) -> None:
    said = texts(
        policy_config(
            {
                "near_bits": 20,
                "blocking_categories": [],
                "quarantine_categories": ["a:*"],
                "matches": [
                    {"name": "soft", "sources": ["x", "y*"], "at_most": "quarantine"},
                    {
                        "name": "hard",
                        "categories": ["a:1"],
                        "hashes": ["md5"],
                        "within_bits": 3,
                        "action": "block",
                    },
                ],
            }
        )
    )
    assert said["soft"] == (
        "A match from x or y* is at most held for a person, whatever its built-in row says."
    )
    assert said["hard"] == "A match in the category a:1 by md5 at most 3 bits away is blocked."
    assert "at most 20 bits away" in said["matched_near"]
    assert "No match that was published with a category may block." in said
    assert "Of matches published with a category, only a:* may be held." in said


def test_budgets_are_said_with_their_numbers() -> None:
    said = " ".join(texts(PolicyConfig()).values())
    for number in ("20 hits an hour", "20 different uploaders", "10 times", "at least 50"):
        assert number in said
    off = GuardConfig(uploader_per_hour=0, per_hour=0, uploaders_per_hash=0)
    assert "Every budget is turned off." in texts(PolicyConfig(), guard=off)


def findings(
    config: PolicyConfig, *, mode: Mode = Mode.ENFORCE, seen: tuple[str, ...] = (), **guard: int
) -> tuple[Finding, ...]:
    return lint(config, guard=GuardConfig(**guard), mode=mode, seen_routes=seen)


def test_nothing_is_said_against_the_defaults() -> None:
    assert findings(PolicyConfig()) == ()


OWN = {"name": "mine", "sources": ["x"], "hashes": ["exact"]}


@pytest.mark.parametrize(
    ("tree", "where", "says"),
    [
        ({"rules": {"no_filter": "allow"}}, "policy.rules.no_filter", "fails open"),
        ({"rules": {"service_timeout": "allow"}}, "policy.rules.service_timeout", "fails open"),
        ({"rules": {"matched_exact": "allow"}}, "policy.rules.matched_exact", "fails open"),
        ({"rules": {"too_large": "quarantine"}}, "policy.rules.too_large", "changes nothing"),
        ({"rules": {"matched_near": "block"}}, "policy.rules.matched_near", "easy to make"),
        ({"rules": {"allow_listed": "quarantine"}}, "policy.rules.allow_listed", "no effect"),
        ({"rules": {"matched_test": "allow"}}, "policy.rules.matched_test", "test picture passes"),
        ({"blocking_categories": []}, "policy.blocking_categories", "is empty"),
        ({"blocking_categories": ["*"]}, "policy.blocking_categories", "every category"),
        ({"blocking_categories": ["ncmec"]}, "policy.blocking_categories", "fits no category"),
        ({"quarantine_categories": ["ncmec"]}, "policy.quarantine_categories", "fits no category"),
        ({"matches": [{**OWN, "action": "allow"}]}, "policy.matches 'mine'", "fails open"),
        ({"matches": [{**OWN, "at_most": "block"}]}, "policy.matches 'mine'", "changes nothing"),
        (
            {"matches": [{**OWN, "hashes": ["near"], "action": "block"}]},
            "policy.matches 'mine'",
            "easy to make",
        ),
        (
            {"matches": [{**OWN, "categories": ["b:1"], "action": "block"}]},
            "policy.matches 'mine'",
            "may never block",
        ),
        (
            {"matches": [{**OWN, "action": "quarantine"}, {**OWN, "name": "late", "action": "block"}]},
            "policy.matches 'late'",
            "never reached",
        ),
        ({"routes": {"avatar": {"shadow": True}}}, "policy.routes.avatar.shadow", "is on"),
        ({"routes": {"avatar": {"near_bits": 31}}}, "policy.routes.avatar", "changes nothing"),
        (
            {"routes": {"avatar": {"rules": {"no_filter": "allow"}}}},
            "policy.routes.avatar.rules.no_filter",
            "fails open",
        ),
        (
            {"routes": {"avatar": {"matches": [{**OWN, "action": "allow"}]}}},
            "policy.routes.avatar.matches 'mine'",
            "fails open",
        ),
    ],
)
def test_what_is_probably_not_meant_is_found_once(
    policy_config: ReadPolicy, tree: dict[str, Any], where: str, says: str
) -> None:
    (finding,) = findings(policy_config(tree))
    assert (finding.level, finding.where) == (Level.WARNING, where)
    assert says in finding.says
    assert finding.todo


def test_a_policy_that_refuses_everything_is_an_error_and_comes_first(policy_config: ReadPolicy) -> None:
    found = findings(policy_config({"rules": {"no_filter": "allow", "no_match": "block"}}))
    assert [finding.level for finding in found] == [Level.ERROR, Level.WARNING]
    assert "innocent" in found[0].says


def test_a_narrow_row_before_a_wide_one_is_fine(policy_config: ReadPolicy) -> None:
    rows = [{**OWN, "within_bits": 3, "action": "block"}, {**OWN, "name": "wide", "action": "quarantine"}]
    assert findings(policy_config({"matches": rows})) == ()


def test_a_route_that_nobody_uses_is_found_when_it_is_known_which_are_used(policy_config: ReadPolicy) -> None:
    config = policy_config({"routes": {"avatr": {"near_bits": 9}}})
    assert findings(config) == ()
    (finding,) = findings(config, seen=("avatar", "post"))
    assert "avatar, post" in finding.says
    assert findings(config, seen=("avatr",)) == ()


def test_shadow_and_budgets_that_are_off_are_found(policy_config: ReadPolicy) -> None:
    (finding,) = findings(PolicyConfig(), mode=Mode.SHADOW)
    assert finding.where == "mode"
    (finding,) = findings(PolicyConfig(), per_hour=0)
    assert finding.where == "guard.per_hour"
    shadow_route = policy_config({"routes": {"avatar": {"shadow": True}}})
    assert [f.where for f in findings(shadow_route, mode=Mode.SHADOW)] == ["mode"]


def test_every_row_that_holds_or_blocks_by_default_is_watched_for_failing_open(
    policy_config: ReadPolicy,
) -> None:
    exempt = {"matched_test", "unconfirmed_deferred"}
    for row, action in DEFAULT_RULES.items():
        if action.value != "allow" and row not in exempt:
            assert findings(policy_config({"rules": {row: "allow"}})), row
    assert set(ROW_OF_REASON.values()) <= set(DEFAULT_RULES)
