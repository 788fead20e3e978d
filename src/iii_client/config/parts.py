"""The frozen parts of a configuration, with their defaults and what each costs.

Values only: how they are read and refused stands in `readers` and `load`.
"""

from dataclasses import dataclass, field

from iii_client.config.secret import Secret

MIB = 1 << 20

#: Ways to lay a picture, named by what turns the upload into the listed one. Mirroring is the one that
#: people do not notice, so it is looked for by default.
VIEWS = ("upright", "mirror", "flip", "rotate-90", "rotate-180", "rotate-270", "transpose", "antitranspose")
DEFAULT_VIEWS = ("upright", "mirror")

NO_MODE = "no mode is set"
MODE_HINT = (
    "Set III_MODE=shadow to let every upload pass and only log what would have been done (start here), or "
    "III_MODE=enforce to quarantine and block."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is read and decoded at most. Over a limit is UNSCANNABLE, never "no match".

    Attributes:
        max_content_bytes: most bytes that are read for digests; beyond it nothing can be said.
        max_picture_bytes: largest file that is decoded as a picture.
        max_frame_pixels: largest frame, in pixels.
        max_total_pixels: all decoded frames of one file together, in pixels.
    """

    max_content_bytes: int = 16 << 30
    max_picture_bytes: int = 100 * MIB
    max_frame_pixels: int = 50_000_000
    max_total_pixels: int = 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """Where the signed filter comes from, and how it is asked.

    Attributes:
        views: ways to lay a picture when looking for near copies; each costs time and false candidates. A
            setting of the look-up, not of the recipe: a stored fingerprint serves every view.
        near: whether near segments are fetched; a login for exact sections alone may not have them.
    """

    use: str = "signed"
    url: str = ""
    root: str = ""
    min_epoch: int = 1
    views: tuple[str, ...] = DEFAULT_VIEWS
    near: bool = True
    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))

    @property
    def bypassed(self) -> bool:
        """Whether every picture's digest is confirmed without a filter (the bridge)."""
        return self.use == "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """The central service that confirms probable hits."""

    url: str = ""
    protocol: str = "v2"
    v1_test: bool = False
    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    timeout_s: float = 0.8
    send_own_hash: bool = True
    ca_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsConfig:
    """Where the evidence is kept, and for how long.

    Attributes:
        database: PostgreSQL address, for many hosts with one outbox; empty for `state.db` on this machine.
        keep_days: how long fingerprints, negatives and settled encounters are kept: they are personal data.
        cache: whether fingerprints and answers are remembered, so that a re-upload costs one digest.
        cache_mib: size that `cache.db` is kept under.
    """

    database: Secret = field(default_factory=lambda: Secret(""))
    keep_days: int = 30
    cache: bool = True
    cache_mib: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxConfig:
    """How unconfirmed items are asked about later.

    Attributes:
        calls_per_s: most calls to the service a second while draining, of all drainers of one outbox.
        max_pending_h: after so many hours without an answer a person takes over, with an alarm.
    """

    calls_per_s: float = 2.0
    max_pending_h: int = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """Budgets of filter hits. Beyond one, confirmations wait in the outbox, nothing is blocked outright and
    an alarm is raised: a bad list or a flood must not become mass deletion.

    Attributes:
        uploader_per_hour: hits of one uploader in an hour.
        per_hour: hits of all in an hour that never count as too many.
        times_median: ... and above it, how many times the median hour of the last seven days may hold.
        uploaders_per_hash: different uploaders of one hash in a day: perhaps a stock picture.

    0 turns a budget off.
    """

    uploader_per_hour: int = 20
    per_hour: int = 50
    times_median: int = 10
    uploaders_per_hash: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineConfig:
    """Where held files lie.

    Attributes:
        url: an fsspec address; empty for a folder in the state directory.
        keep_days: after so many days a held file may be purged, unless it is on legal hold.
    """

    url: str = ""
    keep_days: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyConfig:
    """Who is told when a late answer arrives or an alarm is raised.

    Attributes:
        webhook_url: of the hoster's own application.
        webhook_key: signs each message (HMAC-SHA-256).
    """

    webhook_url: str = ""
    webhook_key: Secret = field(default_factory=lambda: Secret(""))
