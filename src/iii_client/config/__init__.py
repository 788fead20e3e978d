"""Configuration: frozen parts, read from a mapping, a TOML file or the environment.

| environment variable | TOML key | meaning |
|---|---|---|
| `III_MODE` | `mode` | `shadow` (log only) or `enforce`. No default. |
| `III_STATE_DIR` | `state_dir` | where filter, metadata and records live. Default: per user. |
| `III_CONFIG` | | a TOML file to read first; environment variables override it. |
| `III_FILTER` | `filter.use` | `signed` (default), or `none`: confirm a digest of every picture. |
| `III_FILTER_URL` | `filter.url` | base URL of the signed filter repository. |
| `III_FILTER_ROOT` | `filter.root` | file with the pinned trust root (`root.json`). |
| `III_FILTER_MIN_EPOCH` | `filter.min_epoch` | refuse releases older than this epoch. Default 1. |
| `III_FILTER_VIEWS` | `filter.views` | ways to lay a picture when looking for near copies. |
| `III_FILTER_NEAR` | `filter.near` | `false` fetches no near segments: for a login without them. |
| `III_FILTER_USERNAME` | `filter.username` | HTTP Basic for the download. |
| `III_FILTER_PASSWORD` | `filter.password` | |
| `III_SERVICE_URL` | `service.url` | base URL of the confirming service. |
| `III_SERVICE_PROTOCOL` | `service.protocol` | `v1` (the live contract) or `v2` (default). |
| `III_SERVICE_V1_TEST` | `service.v1_test` | `true` asks the v1 service's test base. Default `false`. |
| `III_SERVICE_USERNAME` | `service.username` | HTTP Basic. |
| `III_SERVICE_PASSWORD` | `service.password` | |
| `III_SERVICE_TIMEOUT_S` | `service.timeout_s` | budget of a whole confirmation, in seconds. Default 0.8. |
| `III_SERVICE_SEND_OWN_HASH` | `service.send_own_hash` | send a picture's own near hash. Default `true`. |
| `III_SERVICE_CA_FILE` | `service.ca_file` | a CA bundle to trust instead of the default one. |
| `III_RECIPE` | `recipe` | `fast` (default) or `exact`; `fast-v1`, `exact-v1` trim no borders. |
| `III_ISOLATION` | `isolation` | `on` (default), or `off`: decode in this process, with its rights. |
| `III_MAX_PICTURE_BYTES` | `limits.max_picture_bytes` | largest picture file that is decoded. |
| `III_MAX_FRAME_PIXELS` | `limits.max_frame_pixels` | largest frame that is decoded. |
| `III_MAX_TOTAL_PIXELS` | `limits.max_total_pixels` | all decoded frames of one file together. |
| `III_CONTACT` | `contact` | what a rejected uploader is told to turn to. |
| `III_DATABASE_URL` | `records.database` | PostgreSQL address; without it, `state.db` on this machine. |
| `III_KEEP_DAYS` | `records.keep_days` | retention of personal data, in days. Default 30. |
| `III_CACHE` | `records.cache` | remember fingerprints and answers. Default `true`. |
| | `records.cache_mib` | size that `cache.db` is kept under. Default 512. |
| | `outbox.calls_per_s` | most calls a second while draining. Default 2. |
| | `outbox.max_pending_h` | hours after which a person takes over. Default 72. |
| | `guard.uploader_per_hour` | filter hits of one uploader in an hour. Default 20. |
| | `guard.per_hour` | filter hits in an hour that are never too many. Default 50. |
| | `guard.times_median` | ... or so many times the median hour of seven days. Default 10. |
| | `guard.uploaders_per_hash` | uploaders of one hash in a day. Default 20. |
| `III_QUARANTINE_URL` | `quarantine.url` | fsspec address of held files. Default: in the state directory. |
| | `quarantine.keep_days` | retention of held files, in days. Default 90. |
| `III_WEBHOOK_URL` | `notify.webhook_url` | of your application, told about late answers and alarms. |
| `III_WEBHOOK_KEY` | `notify.webhook_key` | signs each message. |
| | `policy.rules.<row>` | the action of one policy row: `allow`, `quarantine` or `block`. |
| | `policy.blocking_categories` | `scheme:code` patterns that may block (the category floor). |
| | `policy.quarantine_categories` | `scheme:code` patterns that may be held. Default: all. |
| | `policy.near_bits` | farthest distance of a near match, 0 to 31. Default 31. |
| | `policy.matches` | rows of your own by list, category, hash, distance. |
| | `policy.routes.<route>` | the same settings for one upload path, and `shadow`. |

Every secret has a `*_FILE` twin (`III_SERVICE_PASSWORD_FILE`) that names a file to read it from.
Secrets are masked in every `repr`.
"""

from iii_client.config.load import ENVIRONMENT, Config, default_state_dir
from iii_client.config.parts import (
    DEFAULT_VIEWS,
    MIB,
    MODE_HINT,
    NO_MODE,
    VIEWS,
    FilterConfig,
    GuardConfig,
    Limits,
    NotifyConfig,
    OutboxConfig,
    QuarantineConfig,
    RecordsConfig,
    ServiceConfig,
)
from iii_client.config.policy import (
    DEFAULT_BLOCKING_CATEGORIES,
    DEFAULT_QUARANTINE_CATEGORIES,
    MAX_NEAR_BITS,
    MatchRow,
    PolicyConfig,
    RouteConfig,
)
from iii_client.config.secret import Secret

__all__ = [
    "DEFAULT_BLOCKING_CATEGORIES",
    "DEFAULT_QUARANTINE_CATEGORIES",
    "DEFAULT_VIEWS",
    "ENVIRONMENT",
    "MAX_NEAR_BITS",
    "MIB",
    "MODE_HINT",
    "NO_MODE",
    "VIEWS",
    "Config",
    "FilterConfig",
    "GuardConfig",
    "Limits",
    "MatchRow",
    "NotifyConfig",
    "OutboxConfig",
    "PolicyConfig",
    "QuarantineConfig",
    "RecordsConfig",
    "RouteConfig",
    "Secret",
    "ServiceConfig",
    "default_state_dir",
]
