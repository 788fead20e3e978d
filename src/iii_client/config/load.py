"""A whole configuration, from a mapping, a TOML file or the environment. Unknown names are refused."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from iii_client.config import readers
from iii_client.config.parts import (
    MODE_HINT,
    NO_MODE,
    FilterConfig,
    GuardConfig,
    Limits,
    NotifyConfig,
    OutboxConfig,
    QuarantineConfig,
    RecordsConfig,
    ServiceConfig,
)
from iii_client.config.policy import POLICY, PolicyConfig
from iii_client.errors import ConfigurationError
from iii_client.model import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a Scanner needs to know."""

    mode: Mode
    state_dir: Path
    recipe: str = "fast"
    isolation: str = "on"
    filter: FilterConfig = field(default_factory=FilterConfig)
    service: ServiceConfig = field(default_factory=ServiceConfig)
    limits: Limits = field(default_factory=Limits)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
    outbox: OutboxConfig = field(default_factory=OutboxConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    quarantine: QuarantineConfig = field(default_factory=QuarantineConfig)
    notify: NotifyConfig = field(default_factory=NotifyConfig)
    contact: str = ""

    @classmethod
    def from_env(
        cls, env: Mapping[str, str] | None = None, *, over: Mapping[str, Any] | None = None
    ) -> "Config":
        """Read the environment, over the TOML file that `III_CONFIG` names, if any.

        Args:
            env: of this process unless given.
            over: nested plain values that win over both, e.g. an application's own settings.

        Raises:
            ConfigurationError: a setting is missing, unknown or malformed.
        """
        env = os.environ if env is None else env
        _refuse_unknown(env)
        tree = _read_toml(Path(env["III_CONFIG"])) if env.get("III_CONFIG") else {}
        for variable, path in ENVIRONMENT.items():
            if (text := _from_env_or_file(env, variable)) is not None:
                _put(tree, path, text)
        return cls.from_mapping(_merged(tree, over or {}))

    @classmethod
    def from_toml(cls, path: Path) -> "Config":
        """Read a TOML file.

        Raises:
            ConfigurationError: it cannot be read, or a setting is missing, unknown or malformed.
        """
        return cls.from_mapping(_read_toml(path))

    @classmethod
    def from_mapping(cls, tree: Mapping[str, Any]) -> "Config":
        """Read nested plain values, as TOML gives them.

        Raises:
            ConfigurationError: a setting is missing, unknown or malformed.
        """
        tree = dict(tree)
        parts = {
            name: make(**readers.table(name, tree.pop(name, {}), readers_of))
            for name, (make, readers_of) in _PARTS.items()
        }
        top = readers.table("", tree, _TOP)
        if "mode" not in top:
            raise ConfigurationError(NO_MODE, hint=MODE_HINT)
        top.setdefault("state_dir", default_state_dir())
        return cls(**parts, **top)


def default_state_dir() -> Path:
    """Per-user directory for state: `$XDG_STATE_HOME/iii-client`, else `~/.local/state/iii-client`."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "iii-client"


_TOP = {
    "mode": readers.mode,
    "state_dir": readers.path,
    "recipe": readers.one_of("fast", "exact", "fast-v1", "exact-v1"),
    "isolation": readers.one_of("on", "off"),
    "contact": readers.text,
}
_FILTER = {
    "use": readers.one_of("signed", "none"),
    "url": readers.http_url,
    "root": readers.path_text,
    "min_epoch": readers.positive_int,
    "views": readers.views,
    "near": readers.flag,
    "username": readers.text,
    "password": readers.secret,
}
_SERVICE = {
    "url": readers.http_url,
    "protocol": readers.one_of("v1", "v2"),
    "v1_test": readers.flag,
    "username": readers.text,
    "password": readers.secret,
    "timeout_s": readers.positive_seconds,
    "send_own_hash": readers.flag,
    "ca_file": readers.path_text,
}
_LIMITS = dict.fromkeys(
    ("max_content_bytes", "max_picture_bytes", "max_frame_pixels", "max_total_pixels"), readers.positive_int
)
_RECORDS = {
    "database": readers.database_url,
    "keep_days": readers.positive_int,
    "cache": readers.flag,
    "cache_mib": readers.positive_int,
}
_OUTBOX = {"calls_per_s": readers.positive_number, "max_pending_h": readers.positive_int}
_GUARD = dict.fromkeys(
    ("uploader_per_hour", "per_hour", "times_median", "uploaders_per_hash"), readers.whole_number
)
_QUARANTINE = {"url": readers.text, "keep_days": readers.positive_int}
_NOTIFY = {"webhook_url": readers.http_url, "webhook_key": readers.secret}

_PARTS: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "filter": (FilterConfig, _FILTER),
    "service": (ServiceConfig, _SERVICE),
    "limits": (Limits, _LIMITS),
    "policy": (PolicyConfig, POLICY),
    "records": (RecordsConfig, _RECORDS),
    "outbox": (OutboxConfig, _OUTBOX),
    "guard": (GuardConfig, _GUARD),
    "quarantine": (QuarantineConfig, _QUARANTINE),
    "notify": (NotifyConfig, _NOTIFY),
}

#: Largest configuration or secret file.
_MAX_FILE_BYTES = 64 << 10

ENVIRONMENT = {
    "III_MODE": "mode",
    "III_STATE_DIR": "state_dir",
    "III_RECIPE": "recipe",
    "III_ISOLATION": "isolation",
    "III_FILTER": "filter.use",
    "III_FILTER_URL": "filter.url",
    "III_FILTER_ROOT": "filter.root",
    "III_FILTER_MIN_EPOCH": "filter.min_epoch",
    "III_FILTER_VIEWS": "filter.views",
    "III_FILTER_NEAR": "filter.near",
    "III_FILTER_USERNAME": "filter.username",
    "III_FILTER_PASSWORD": "filter.password",
    "III_SERVICE_URL": "service.url",
    "III_SERVICE_PROTOCOL": "service.protocol",
    "III_SERVICE_V1_TEST": "service.v1_test",
    "III_SERVICE_USERNAME": "service.username",
    "III_SERVICE_PASSWORD": "service.password",
    "III_SERVICE_TIMEOUT_S": "service.timeout_s",
    "III_SERVICE_SEND_OWN_HASH": "service.send_own_hash",
    "III_SERVICE_CA_FILE": "service.ca_file",
    "III_CONTACT": "contact",
    "III_DATABASE_URL": "records.database",
    "III_KEEP_DAYS": "records.keep_days",
    "III_CACHE": "records.cache",
    "III_QUARANTINE_URL": "quarantine.url",
    "III_WEBHOOK_URL": "notify.webhook_url",
    "III_WEBHOOK_KEY": "notify.webhook_key",
    "III_MAX_PICTURE_BYTES": "limits.max_picture_bytes",
    "III_MAX_FRAME_PIXELS": "limits.max_frame_pixels",
    "III_MAX_TOTAL_PIXELS": "limits.max_total_pixels",
}


def _refuse_unknown(env: Mapping[str, str]) -> None:
    """A misspelt variable must not be a setting that silently does not apply."""
    known = {"III_CONFIG", "III_PUBLISH_DIR", *ENVIRONMENT, *(f"{variable}_FILE" for variable in ENVIRONMENT)}
    for name in sorted(env):
        if name.startswith("III_") and name not in known and not name.startswith("III_TEST_"):
            close = get_close_matches(name, known, 1)
            hint = f"Did you mean {close[0]}?" if close else "All names: docs/reference/configuration.md."
            raise ConfigurationError(f"unknown environment variable {name}", hint=hint)


def _from_env_or_file(env: Mapping[str, str], variable: str) -> str | None:
    """The variable's text, else that of the file its `*_FILE` twin names; None when neither is set."""
    text = env.get(variable)
    file = env.get(f"{variable}_FILE")
    if text and file:
        raise ConfigurationError(f"{variable} and {variable}_FILE are both set", hint="Keep one of them.")
    return _read_small(Path(file), f"the file of {variable}_FILE").strip() if file else text or None


def _read_small(path: Path, what: str) -> str:
    """A short UTF-8 text file: limits before reading, because the name may be that of a device."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{what} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{what} is larger than {_MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what} is not UTF-8 text") from None


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged; of any other value the upper one holds."""
    merged = dict(under)
    for key, value in over.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both_tables else value
    return merged


def _put(tree: dict[str, Any], path: str, value: str) -> None:
    *tables, key = path.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"[{table}] must be a table")
    tree[key] = value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read_small(path, "the configuration file"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the configuration file is not TOML: {error}") from None
