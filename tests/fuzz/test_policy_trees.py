"""Whatever a TOML file holds under [policy], it is read or refused by name; nothing else happens."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from iii_client.config import Config, GuardConfig
from iii_client.decide import TablePolicy
from iii_client.decide.explain import explain
from iii_client.decide.lint import lint
from iii_client.errors import ConfigurationError
from iii_client.model import Mode

#: Words that lead into the reader, and some that do not.
WORDS = (
    st.sampled_from(
        ["rules", "matches", "routes", "near_bits", "blocking_categories", "quarantine_categories", "shadow"]
    )
    | st.sampled_from(
        ["name", "sources", "lists", "categories", "hashes", "within_bits", "action", "at_most"]
    )
    | st.sampled_from(
        ["matched_exact", "service_timeout", "unconfirmed_deferred", "block", "quarantine", "allow"]
    )
    | st.text(max_size=5)
)
LEAVES = WORDS | st.integers(-5, 40) | st.booleans() | st.floats(allow_nan=False)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
RULES = st.dictionaries(WORDS, WORDS, max_size=3)
ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "name": WORDS,
            "sources": st.lists(WORDS, max_size=2),
            "lists": st.lists(WORDS, max_size=2),
            "categories": st.lists(WORDS, max_size=2),
            "hashes": st.lists(st.sampled_from(["exact", "near", "md5", "md6"]), max_size=2),
            "within_bits": st.integers(-1, 40),
            "action": st.sampled_from(["block", "quarantine", "allow", "delete"]),
            "at_most": st.sampled_from(["block", "quarantine", "allow", ""]),
        },
    ),
    max_size=3,
)
TABLES: dict[str, st.SearchStrategy[Any]] = {
    "rules": RULES,
    "matches": ROWS,
    "near_bits": st.integers(-1, 32),
    "blocking_categories": st.lists(WORDS, max_size=2),
}
PLAUSIBLE = st.fixed_dictionaries(
    {},
    optional={
        **TABLES,
        "routes": st.dictionaries(
            WORDS, st.fixed_dictionaries({}, optional={**TABLES, "shadow": st.booleans()}), max_size=2
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(tree=st.one_of(TREES, PLAUSIBLE))
def test_a_policy_is_read_and_explained_or_refused_by_name(tree: Any) -> None:
    try:
        config = Config.from_mapping({"mode": "enforce", "policy": tree}).policy
        policy = TablePolicy(config)
    except ConfigurationError:
        return
    for route in ("", *config.routes):
        assert all(sentence.text for sentence in explain(policy.table(route), GuardConfig()))
    lint(config, guard=GuardConfig(), mode=Mode.ENFORCE)
