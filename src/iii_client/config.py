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
| `III_RECIPE` | `recipe` | `fast` (default) or `exact`. |
| `III_MAX_PICTURE_BYTES` | `limits.max_picture_bytes` | largest picture file that is decoded. |
| `III_MAX_FRAME_PIXELS` | `limits.max_frame_pixels` | largest frame that is decoded. |
| `III_MAX_TOTAL_PIXELS` | `limits.max_total_pixels` | all decoded frames of one file together. |
| | `policy.rules.<row>` | the action of one policy row: `allow`, `quarantine` or `block`. |
| | `policy.blocking_categories` | `scheme:code` patterns that may block (the category floor). |

Every secret has a `*_FILE` twin (`III_SERVICE_PASSWORD_FILE`) that names a file to read it from.
Secrets are masked in every `repr`.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from iii_client.errors import ConfigurationError
from iii_client.model import Mode

MIB = 1 << 20

#: `scheme:code` patterns that may block. The names are those of the published schemes: INTERPOL's baseline
#: set (1 is what every member state agrees on), NCMEC's and the IWF's classes. An empty list blocks nothing
#: that was published with a category.
DEFAULT_BLOCKING_CATEGORIES = ("interpol-baseline:1", "ncmec:*", "iwf:*")

#: Ways to lay a picture, named by what turns the upload into the listed one. Mirroring is the one that
#: people do not notice, so it is looked for by default.
VIEWS = ("upright", "mirror", "flip", "rotate-90", "rotate-180", "rotate-270", "transpose", "antitranspose")
DEFAULT_VIEWS = ("upright", "mirror")

MODE_HINT = (
    "Set III_MODE=shadow to let every upload pass and only log what would have been done (start here), or "
    "III_MODE=enforce to quarantine and block."
)


class Secret:
    """A text that does not show itself. Ask for it with `reveal()`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret(unset)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret is not serialised")


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
    """

    use: str = "signed"
    url: str = ""
    root: str = ""
    min_epoch: int = 1
    views: tuple[str, ...] = DEFAULT_VIEWS
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
class PolicyConfig:
    """Overrides of the default policy table."""

    rules: Mapping[str, str] = field(default_factory=dict)
    blocking_categories: tuple[str, ...] = DEFAULT_BLOCKING_CATEGORIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a Scanner needs to know."""

    mode: Mode
    state_dir: Path
    recipe: str = "fast"
    filter: FilterConfig = field(default_factory=FilterConfig)
    service: ServiceConfig = field(default_factory=ServiceConfig)
    limits: Limits = field(default_factory=Limits)
    policy: PolicyConfig = field(default_factory=PolicyConfig)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Config":
        """Read the environment, over the TOML file that `III_CONFIG` names, if any.

        Raises:
            ConfigurationError: a setting is missing, unknown or malformed.
        """
        env = os.environ if env is None else env
        _refuse_unknown(env)
        tree = _read_toml(Path(env["III_CONFIG"])) if env.get("III_CONFIG") else {}
        for variable, path in _ENVIRONMENT.items():
            if (text := _from_env_or_file(env, variable)) is not None:
                _put(tree, path, text)
        return cls.from_mapping(tree)

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
        filter_part = _read_part("filter", tree.pop("filter", {}), _FILTER)
        service = _read_part("service", tree.pop("service", {}), _SERVICE)
        limits = _read_part("limits", tree.pop("limits", {}), _LIMITS)
        policy = _read_part("policy", tree.pop("policy", {}), _POLICY)
        top = _read_part("", tree, _TOP)
        if "mode" not in top:
            raise ConfigurationError("no mode is set", hint=MODE_HINT)
        top.setdefault("state_dir", default_state_dir())
        return cls(
            filter=FilterConfig(**filter_part),
            service=ServiceConfig(**service),
            limits=Limits(**limits),
            policy=PolicyConfig(**policy),
            **top,
        )


def default_state_dir() -> Path:
    """Per-user directory for state: `$XDG_STATE_HOME/iii-client`, else `~/.local/state/iii-client`."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "iii-client"


# --- reading ------------------------------------------------------------------------------------------


_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a text")
    return value


def _one_of(*allowed: str) -> Any:
    def read(name: str, value: Any) -> str:
        text = _text(name, value)
        if text not in allowed:
            raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}; it is {text!r}")
        return text

    return read


def _mode(name: str, value: Any) -> Mode:
    try:
        return Mode(_text(name, value))
    except ValueError:
        raise ConfigurationError(f"mode must be shadow or enforce; it is {value!r}", hint=MODE_HINT) from None


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    lowered = _text(name, value).lower()
    if lowered not in {"true", "false", "1", "0"}:
        raise ConfigurationError(f"{name} must be true or false; it is {value!r}")
    return lowered in {"true", "1"}


def _positive_int(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if isinstance(value, (bool, float)) or number <= 0:
        raise ConfigurationError(f"{name} must be a whole number above 0; it is {value!r}")
    return number


def _positive_seconds(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"{name} must be a number of seconds above 0; it is {value!r}")
    return number


def _http_url(name: str, value: Any) -> str:
    # The value is never echoed: a malformed one may hold a password, and errors end up in journals.
    text = _text(name, value).rstrip("/")
    if "@" in text:
        raise ConfigurationError(f"{name} must not hold a password; use the username and password settings")
    scheme, _, rest = text.partition("://")
    if text and scheme not in {"http", "https"}:
        raise ConfigurationError(f"{name} must start with https://")
    if scheme == "http" and urlsplit(text).hostname not in _LOOPBACK:
        raise ConfigurationError(
            f"{name} must start with https://: on the way, others could read and forge what it carries",
            hint="http:// is for this machine only (127.0.0.1, ::1, localhost), as the practice service is.",
        )
    if text and not rest:
        raise ConfigurationError(f"{name} names no host")
    return text


def _views(name: str, value: Any) -> tuple[str, ...]:
    texts = _texts(name, [v.strip() for v in value.split(",")] if isinstance(value, str) else value)
    unknown = sorted(set(texts) - set(VIEWS))
    if unknown or "upright" not in texts or len(set(texts)) != len(texts):
        raise ConfigurationError(
            f"{name} must be distinct views, upright among them; it is {', '.join(texts)!r}",
            hint=f"Known: {', '.join(VIEWS)}.",
        )
    return texts


def _secret(name: str, value: Any) -> Secret:
    return value if isinstance(value, Secret) else Secret(_text(name, value))


def _path(name: str, value: Any) -> Path:
    return value if isinstance(value, Path) else Path(_text(name, value)).expanduser()


def _path_text(name: str, value: Any) -> str:
    return str(_path(name, value))


def _rules(name: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise ConfigurationError(f"{name} must be a table of row = action")
    return dict(value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f"{name} must be a list of texts")
    return tuple(value)


_TOP = {"mode": _mode, "state_dir": _path, "recipe": _one_of("fast", "exact")}
_FILTER = {
    "use": _one_of("signed", "none"),
    "url": _http_url,
    "root": _path_text,
    "min_epoch": _positive_int,
    "views": _views,
    "username": _text,
    "password": _secret,
}
_SERVICE = {
    "url": _http_url,
    "protocol": _one_of("v1", "v2"),
    "v1_test": _flag,
    "username": _text,
    "password": _secret,
    "timeout_s": _positive_seconds,
    "send_own_hash": _flag,
    "ca_file": _path_text,
}
_LIMITS = dict.fromkeys(
    ("max_content_bytes", "max_picture_bytes", "max_frame_pixels", "max_total_pixels"), _positive_int
)
_POLICY = {"rules": _rules, "blocking_categories": _texts}

#: Largest configuration or secret file.
_MAX_FILE_BYTES = 64 << 10

_ENVIRONMENT = {
    "III_MODE": "mode",
    "III_STATE_DIR": "state_dir",
    "III_RECIPE": "recipe",
    "III_FILTER": "filter.use",
    "III_FILTER_URL": "filter.url",
    "III_FILTER_ROOT": "filter.root",
    "III_FILTER_MIN_EPOCH": "filter.min_epoch",
    "III_FILTER_VIEWS": "filter.views",
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
    "III_MAX_PICTURE_BYTES": "limits.max_picture_bytes",
    "III_MAX_FRAME_PIXELS": "limits.max_frame_pixels",
    "III_MAX_TOTAL_PIXELS": "limits.max_total_pixels",
}


def _read_part(part: str, values: Any, readers: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"[{part}] must be a table")
    unknown = sorted(set(values) - set(readers))
    if unknown:
        where = f" in [{part}]" if part else ""
        raise ConfigurationError(
            f"unknown setting{where}: {', '.join(unknown)}", hint=f"Known: {', '.join(sorted(readers))}."
        )
    prefix = f"{part}." if part else ""
    return {key: readers[key](prefix + key, value) for key, value in values.items()}


def _refuse_unknown(env: Mapping[str, str]) -> None:
    """A misspelt variable must not be a setting that silently does not apply."""
    known = {"III_CONFIG", *_ENVIRONMENT, *(f"{variable}_FILE" for variable in _ENVIRONMENT)}
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
