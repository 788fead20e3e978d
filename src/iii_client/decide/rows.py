"""The built-in rows of the policy: what each is about, its default, and what it may never be set to.

A row is one line of configuration (`[policy.rules]` in TOML: `no_filter = "allow"`). A reason's own name may
stand there too and is then taken in place of its row (`service_timeout = "allow"`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from iii_client.model import Action, Outcome, Reason

ALLOW, QUARANTINE, BLOCK = Action.ALLOW, Action.QUARANTINE, Action.BLOCK


class Group(StrEnum):
    """What a row is about, in the order in which a person reads them."""

    LISTED = "What the service confirmed"
    UNANSWERED = "Probable hits without an answer"
    UNSEEN = "What could not be looked at"
    FILTER = "The filter, and everything else"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One built-in row.

    Attributes:
        name: in configuration, decisions and audit entries.
        group: for people.
        default: what is done when nothing is configured.
        about: subject of a sentence that goes on with "is blocked".
        never: actions it may not be set to.
        because: why not, and what to do instead.
    """

    name: str
    group: Group
    default: Action
    about: str
    never: frozenset[Action] = frozenset()
    because: str = ""


_NEVER_BLOCK = frozenset({BLOCK})
_EASY_TO_MAKE = (
    "A picture with a chosen perceptual hash is easy to make: use quarantine, and let a person look."
)
_HELD_ONLY = "Use quarantine: what nobody confirmed is held until somebody does."

ROWS = (
    # The bytes are the listed bytes.
    Row(name="matched_exact", group=Group.LISTED, default=BLOCK, about="An exact copy of a listed file"),
    # Not blocked unless the hoster says so: a picture with a chosen perceptual hash is easy to make.
    Row(
        name="matched_near",
        group=Group.LISTED,
        default=QUARANTINE,
        about="A picture that looks like a listed one (at most {near_bits} bits away, and the listed hash "
        "itself was confirmed)",
    ),
    Row(
        name="matched_near_loose",
        group=Group.LISTED,
        default=QUARANTINE,
        about="A picture that looks like a listed one from farther away, or of which only its own hash was "
        "confirmed,",
        never=_NEVER_BLOCK,
        because=_EASY_TO_MAKE,
    ),
    Row(
        name="matched_below_floor",
        group=Group.LISTED,
        default=QUARANTINE,
        about="A match that was published in other categories only than those that may block",
        never=_NEVER_BLOCK,
        because="To block more categories, name them in blocking_categories.",
    ),
    Row(
        name="matched_below_both_floors",
        group=Group.LISTED,
        default=ALLOW,
        about="A match that was published in other categories only than those that may block or be held",
        never=_NEVER_BLOCK,
        because="To block more categories, name them in blocking_categories.",
    ),
    # So that a hoster can try the whole path.
    Row(name="matched_test", group=Group.LISTED, default=BLOCK, about="The harmless test picture itself"),
    Row(
        name="matched_test_near",
        group=Group.LISTED,
        default=ALLOW,
        about="A look-alike of the test picture",
        never=_NEVER_BLOCK,
        because=_EASY_TO_MAKE,
    ),
    # Whatever lists say: a disputed hash stops hurting at once.
    Row(
        name="allow_listed",
        group=Group.LISTED,
        default=ALLOW,
        about="A file whose digest is on your allow-list",
    ),
    Row(
        name="unconfirmed_no_answer",
        group=Group.UNANSWERED,
        default=QUARANTINE,
        about="A probable hit about which the service does not answer, for now,",
    ),
    # Its own row, because failing open when the service is down is a choice, and failing open when somebody
    # floods the site is a hole: whoever used up the budget would be let through.
    Row(
        name="unconfirmed_deferred",
        group=Group.UNANSWERED,
        default=QUARANTINE,
        about="A probable hit that comes while a budget of hits is used up",
        never=frozenset({ALLOW, BLOCK}),
        because="Whoever floods the site would open its door, and a bad list would delete in bulk: hold it.",
    ),
    # Holding it would hold it for ever, on a probability. Recorded for a person to review.
    Row(
        name="unconfirmed_cannot_confirm",
        group=Group.UNANSWERED,
        default=ALLOW,
        about="A probable look-alike about which the configured service can never answer",
        never=_NEVER_BLOCK,
        because=_EASY_TO_MAKE,
    ),
    Row(
        name="unconfirmed_cannot_confirm_digest",
        group=Group.UNANSWERED,
        default=QUARANTINE,
        about="A digest that hit and about which the configured service can never answer (SHA-256 under v1)",
    ),
    # A crafted picture, or luck.
    Row(
        name="unconfirmed_probe_overflow",
        group=Group.UNANSWERED,
        default=QUARANTINE,
        about="A picture with more possible neighbours than may be followed",
        never=_NEVER_BLOCK,
        because=_HELD_ONLY,
    ),
    Row(
        name="unscannable_content",
        group=Group.UNSEEN,
        default=QUARANTINE,
        about="Content that cannot be read, or a picture that does not decode,",
    ),
    Row(
        name="unscannable_over_limit",
        group=Group.UNSEEN,
        default=QUARANTINE,
        about="Content over a limit of bytes, pixels or time",
    ),
    # An iPhone's HEIC must not be held by accident.
    Row(
        name="format_not_enabled",
        group=Group.UNSEEN,
        default=ALLOW,
        about="A picture of a format that an extra would decode (HEIC)",
    ),
    Row(
        name="format_not_supported",
        group=Group.UNSEEN,
        default=QUARANTINE,
        about="A picture of a format that is never decoded",
    ),
    Row(
        name="no_filter",
        group=Group.FILTER,
        default=QUARANTINE,
        about="Everything, while no filter is installed,",
    ),
    Row(
        name="filter_expired",
        group=Group.FILTER,
        default=QUARANTINE,
        about="What the filter does not know, while it is more than seven days old,",
    ),
    Row(
        name="filter_stale",
        group=Group.FILTER,
        default=ALLOW,
        about="What the filter does not know, while it is more than a day old,",
    ),
    Row(
        name="no_match",
        group=Group.FILTER,
        default=ALLOW,
        about="Everything else: looked at, and not listed,",
    ),
)

ROW_BY_NAME: Mapping[str, Row] = {row.name: row for row in ROWS}
DEFAULT_RULES: Mapping[str, Action] = {row.name: row.default for row in ROWS}

ROW_OF_REASON: Mapping[Reason, str] = {
    Reason.NO_SERVICE: "unconfirmed_no_answer",
    Reason.SERVICE_UNREACHABLE: "unconfirmed_no_answer",
    Reason.SERVICE_TIMEOUT: "unconfirmed_no_answer",
    Reason.SERVICE_REFUSED: "unconfirmed_no_answer",
    Reason.SERVICE_RATE_LIMITED: "unconfirmed_no_answer",
    Reason.SERVICE_ERROR: "unconfirmed_no_answer",
    Reason.SERVICE_BAD_ANSWER: "unconfirmed_no_answer",
    Reason.SERVICE_PAUSED: "unconfirmed_no_answer",
    Reason.DEFERRED: "unconfirmed_deferred",
    Reason.ALLOW_LISTED: "allow_listed",
    Reason.SERVICE_CANNOT_CONFIRM: "unconfirmed_cannot_confirm",
    Reason.OWN_HASH_WITHHELD: "unconfirmed_cannot_confirm",
    Reason.SERVICE_CANNOT_CONFIRM_DIGEST: "unconfirmed_cannot_confirm_digest",
    Reason.PROBE_OVERFLOW: "unconfirmed_probe_overflow",
    Reason.UNREADABLE: "unscannable_content",
    Reason.NOT_A_FILE: "unscannable_content",
    Reason.EMPTY: "unscannable_content",
    Reason.TRUNCATED: "unscannable_content",
    Reason.DECODE_FAILED: "unscannable_content",
    Reason.DECODER_CRASHED: "unscannable_content",
    Reason.DECODER_DISAGREED: "unscannable_content",
    Reason.DECODER_UNAVAILABLE: "unscannable_content",
    Reason.TOO_LARGE: "unscannable_over_limit",
    Reason.TOO_MANY_PIXELS: "unscannable_over_limit",
    Reason.DECODE_TIMEOUT: "unscannable_over_limit",
    Reason.FORMAT_NOT_ENABLED: "format_not_enabled",
    Reason.FORMAT_NOT_SUPPORTED: "format_not_supported",
    Reason.NO_FILTER: "no_filter",
    Reason.FILTER_EXPIRED: "filter_expired",
    Reason.FILTER_STALE: "filter_stale",
}
#: Reasons that explain a verdict without ruling anything.
NOTES = frozenset(Reason) - set(ROW_OF_REASON)

#: For a verdict that no reason explains, which no judge should give: it is held, never let through.
ROW_OF_OUTCOME: Mapping[Outcome, str] = {
    Outcome.MATCHED: "matched_near_loose",
    Outcome.UNCONFIRMED: "unconfirmed_no_answer",
    Outcome.UNSCANNABLE: "unscannable_content",
}
