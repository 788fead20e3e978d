"""What the policy orders: a table of named rows, each with one action. Pure.

Each row is one line of configuration (`[policy.rules]` in TOML: `no_filter = "allow"`). Where several rows
apply to one verdict, the gravest action wins.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from iii_client.config import PolicyConfig
from iii_client.errors import ConfigurationError
from iii_client.model import Action, Match, Outcome, Reason, Ruling, UploadContext, Verdict

DEFAULT_RULES: Mapping[str, Action] = {
    # The bytes are the listed bytes.
    "matched_exact": Action.BLOCK,
    # A listed look, at most 31 bits away and confirmed for the listed hash itself. Not blocked unless the
    # hoster says so: a picture with a chosen perceptual hash is easy to make.
    "matched_near": Action.QUARANTINE,
    # A listed look, farther away or confirmed only for the picture's own hash: never blocked.
    "matched_near_loose": Action.QUARANTINE,
    # Categories were published, and none of them is one that this hoster blocks.
    "matched_below_floor": Action.QUARANTINE,
    # The shipped, harmless test picture, so that a hoster can try the whole path; a look-alike is nothing.
    "matched_test": Action.BLOCK,
    "matched_test_near": Action.ALLOW,
    # A probable hit and no answer: held until there is one.
    "unconfirmed_no_answer": Action.QUARANTINE,
    # A probable near match that the configured service can never confirm (v1 knows digests only): holding
    # it would hold it for ever, on a probability. Allowed, and recorded for a person to review.
    "unconfirmed_cannot_confirm": Action.ALLOW,
    # A digest that hit and that this service has no question for (SHA-256 under v1).
    "unconfirmed_cannot_confirm_digest": Action.QUARANTINE,
    # A digest that this hoster knows to be good, whatever lists say: a disputed hash stops hurting at once.
    "allow_listed": Action.ALLOW,
    # More survivors than a query may follow: a crafted picture, or luck.
    "unconfirmed_probe_overflow": Action.QUARANTINE,
    # A picture that could not be decoded, or content that could not be read.
    "unscannable_content": Action.QUARANTINE,
    "unscannable_over_limit": Action.QUARANTINE,
    # A picture of a format that an extra would decode: an iPhone's HEIC must not be held by accident.
    "format_not_enabled": Action.ALLOW,
    # A picture of a format that this version never decodes.
    "format_not_supported": Action.QUARANTINE,
    "no_filter": Action.QUARANTINE,
    "filter_expired": Action.QUARANTINE,
    "no_match": Action.ALLOW,
}

#: PDQ's usual threshold: beyond it, unlike pictures begin to meet.
MAX_BLOCKABLE_DISTANCE_BITS = 31
#: Rows that may not be set to block, whatever a configuration says.
_NEVER_BLOCK = frozenset({"matched_near_loose", "matched_test_near"})

_ROW_OF_REASON = {
    Reason.NO_SERVICE: "unconfirmed_no_answer",
    Reason.SERVICE_UNREACHABLE: "unconfirmed_no_answer",
    Reason.SERVICE_TIMEOUT: "unconfirmed_no_answer",
    Reason.SERVICE_REFUSED: "unconfirmed_no_answer",
    Reason.SERVICE_RATE_LIMITED: "unconfirmed_no_answer",
    Reason.SERVICE_ERROR: "unconfirmed_no_answer",
    Reason.SERVICE_BAD_ANSWER: "unconfirmed_no_answer",
    Reason.SERVICE_PAUSED: "unconfirmed_no_answer",
    Reason.DEFERRED: "unconfirmed_no_answer",
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
}
#: Reasons that explain a verdict without ruling anything.
NOTES = frozenset(Reason) - set(_ROW_OF_REASON)


class TablePolicy:
    """The default policy: `DEFAULT_RULES` with overrides, and a category floor.

    Raises:
        ConfigurationError: an override names an unknown row or action.
    """

    def __init__(self, config: PolicyConfig | None = None) -> None:
        config = config or PolicyConfig()
        self._rules = {**DEFAULT_RULES, **dict(_read_rule(row, text) for row, text in config.rules.items())}
        self._blocking = config.blocking_categories

    def rule(self, verdict: Verdict, context: UploadContext) -> Ruling:  # noqa: ARG002 - routes come later
        """The action for a verdict: that of the gravest row that applies."""
        if Reason.ALLOW_LISTED in verdict.reasons:
            return Ruling(action=self._rules["allow_listed"], rule="allow_listed")
        rulings = [Ruling(action=self._rules[row], rule=row) for row in self._rows(verdict)]
        return max(rulings, key=lambda ruling: ruling.action)

    def _rows(self, verdict: Verdict) -> Iterable[str]:
        """Rows of the matches first: of equally grave rows, the first one is named as the rule."""
        if verdict.outcome is Outcome.NO_MATCH:
            return ["no_match"]
        return [
            *(self._row_of_match(match, verdict) for match in verdict.matches),
            *(_ROW_OF_REASON[reason] for reason in verdict.reasons if reason not in NOTES),
        ]

    def _row_of_match(self, match: Match, verdict: Verdict) -> str:
        if match.is_test:
            return "matched_test" if match.exact else "matched_test_near"
        if match.categories and not any(
            fnmatchcase(f"{category.scheme}:{category.code}", pattern)
            for category in match.categories
            for pattern in self._blocking
        ):
            # A match without categories (v1) is not below the floor: nothing was published to judge by.
            return "matched_below_floor"
        if match.exact:
            return "matched_exact"
        own = any(hit.own for hit in verdict.candidates if hit.hash == match.hash)
        far = match.distance_bits > MAX_BLOCKABLE_DISTANCE_BITS
        return "matched_near_loose" if own or far else "matched_near"


def _read_rule(row: str, text: str) -> tuple[str, Action]:
    if row not in DEFAULT_RULES:
        raise ConfigurationError(
            f"unknown policy row {row!r}", hint=f"Rows: {', '.join(sorted(DEFAULT_RULES))}."
        )
    try:
        action = Action(text)
    except ValueError:
        raise ConfigurationError(
            f"policy row {row} must be allow, quarantine or block; it is {text!r}"
        ) from None
    if action is Action.BLOCK and row in _NEVER_BLOCK:
        raise ConfigurationError(
            f"policy row {row} must not block", hint="Use quarantine, and let a person look."
        )
    return row, action
