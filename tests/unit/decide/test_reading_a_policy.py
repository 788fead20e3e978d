"""A policy is read strictly: every refusal names the setting and what was probably meant."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from iii_client.config import Config, MatchRow, PolicyConfig
from iii_client.decide import DEFAULT_RULES, TablePolicy
from iii_client.errors import ConfigurationError
from iii_client.model import Reason

ReadPolicy = Callable[[dict[str, Any]], PolicyConfig]
DOCS = Path(__file__).parents[3] / "docs/how-to"
OWN = {"name": "mine", "action": "block"}


def test_six_lines_are_a_policy(tmp_path: Path) -> None:
    file = tmp_path / "iii.toml"
    file.write_text(
        'mode = "enforce"\n[policy]\nblocking_categories = ["interpol-baseline:1"]\n'
        '[policy.rules]\nformat_not_enabled = "quarantine"\nno_filter = "allow"\n'
    )
    table = TablePolicy(Config.from_toml(file).policy).table("")
    assert table.rules["no_filter"].value == "allow"
    assert table.blocking == ("interpol-baseline:1",)


@pytest.mark.parametrize(
    ("tree", "named", "hint"),
    [
        ({"ruls": {}}, r"\[policy\]: ruls", "rules"),
        ({"rules": {"matched_exakt": "block"}}, "matched_exakt", "matched_exact"),
        ({"rules": {"service_timeot": "allow"}}, "service_timeot", "service_timeout"),
        ({"rules": {"matched_exact": "blok"}}, "matched_exact", "block"),
        ({"rules": {"not_listed": "block"}}, "not_listed", ""),
        ({"rules": {"xxxxxxxx": "block"}}, "xxxxxxxx", "verdicts.md"),
        ({"rules": {"matched_near_loose": "block"}}, "matched_near_loose", "easy to make"),
        ({"rules": {"matched_below_floor": "block"}}, "matched_below_floor", "blocking_categories"),
        ({"rules": {"unconfirmed_deferred": "allow"}}, "must not allow", "door"),
        ({"rules": {"deferred": "allow"}}, "deferred", "door"),
        ({"rules": {"unconfirmed_deferred": "block"}}, "must not block", "bad list"),
        ({"rules": ["matched_exact"]}, "policy.rules", ""),
        ({"near_bits": 32}, "near_bits", "unlike"),
        ({"near_bits": True}, "near_bits", "unlike"),
        ({"matches": {"name": "x"}}, "policy.matches", r"[[policy.matches]]"),
        ({"matches": [{"action": "block"}]}, "number 1", "name"),
        ({"matches": [{"name": "mine"}]}, "mine", "at_most"),
        ({"matches": [{**OWN, "at_most": "allow"}]}, "mine", "at_most"),
        ({"matches": [{**OWN, "action": "blocc"}]}, "mine", "block"),
        ({"matches": [{**OWN, "sorces": ["x"]}]}, "sorces", "sources"),
        ({"matches": [{**OWN, "sources": "x"}]}, "sources", ""),
        ({"matches": [{**OWN, "hashes": ["md6"]}]}, "md6", "md5"),
        ({"matches": [{**OWN, "within_bits": -1}]}, "within_bits", "31"),
        ({"matches": [OWN, OWN]}, "second row named 'mine'", "name of its own"),
        ({"matches": [{**OWN, "name": "matched_exact"}]}, "built-in", "name of its own"),
        ({"matches": [{**OWN, "name": "a\nb"}]}, "printable", ""),
        ({"matches": [{**OWN, "name": str(n)} for n in range(201)]}, "201", ""),
        ({"routes": {"avatar": {"rules": {"no_filtr": "allow"}}}}, "policy.routes.avatar", "no_filter"),
        ({"routes": {"avatar": {"shadwo": True}}}, "avatar", "shadow"),
        ({"routes": {"avatar": {"shadow": "maybe"}}}, "shadow", ""),
        ({"routes": {"avatar": "shadow"}}, "policy.routes.avatar", ""),
        ({"routes": "avatar"}, "policy.routes", "avatar"),
        ({"routes": {"avatar": {"routes": {}}}}, "routes", ""),
    ],
)
def test_what_is_wrong_is_named_with_what_was_meant(
    policy_config: ReadPolicy, tree: dict[str, Any], named: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        TablePolicy(policy_config(tree))
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "name", [*DEFAULT_RULES, "service_timeout", "too_large", Reason.DECODE_TIMEOUT.value]
)
def test_every_row_and_every_ruling_reason_is_one_line(policy_config: ReadPolicy, name: str) -> None:
    table = TablePolicy(policy_config({"rules": {name: "quarantine"}})).table("")
    assert table.rules[name].value == "quarantine"


EXAMPLES = re.findall(
    r"```toml\n(.*?)```", (DOCS / "choose-what-is-blocked.md").read_text("utf-8"), re.DOTALL
)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_documentation_are_policies(example: str) -> None:
    config = Config.from_mapping({"mode": "shadow", **tomllib.loads(example)})
    assert TablePolicy(config.policy).version != TablePolicy().version


def test_the_documentation_shows_every_setting_of_a_row() -> None:
    page = (DOCS.parent / "reference/verdicts.md").read_text("utf-8")
    for setting in [field.name for field in fields(MatchRow)]:
        assert f"`{setting}`" in page, setting
