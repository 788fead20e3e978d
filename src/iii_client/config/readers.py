"""One value of a setting: checked, converted, or refused with a sentence that names the setting.

Each reader takes the setting's name and what TOML or the environment gave, and raises `ConfigurationError`.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from iii_client.config.parts import MODE_HINT, VIEWS
from iii_client.config.secret import Secret
from iii_client.errors import ConfigurationError
from iii_client.model import Mode

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def table(name: str, values: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """A table: each key read by its own reader, an unknown one refused with the nearest known one.

    Args:
        name: of the table, with dots; empty for the whole configuration.
        known: reader of each key.
    """
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"[{name}] must be a table")
    if unknown := sorted(set(values) - set(known)):
        where = f" in [{name}]" if name else ""
        raise ConfigurationError(
            f"unknown setting{where}: {', '.join(unknown)}", hint=nearest(unknown[0], known)
        )
    prefix = f"{name}." if name else ""
    return {key: known[key](prefix + key, value) for key, value in values.items()}


def nearest(given: str, known: Iterable[str]) -> str:
    """One sentence: the known name that was probably meant, or all of them."""
    names = sorted(known)
    close = get_close_matches(given, names, 1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(names)}."


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a text")
    return value


def one_of(*allowed: str) -> Any:
    def read(name: str, value: Any) -> str:
        given = text(name, value)
        if given not in allowed:
            raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}; it is {given!r}")
        return given

    return read


def mode(name: str, value: Any) -> Mode:
    try:
        return Mode(text(name, value))
    except ValueError:
        raise ConfigurationError(f"mode must be shadow or enforce; it is {value!r}", hint=MODE_HINT) from None


def flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    lowered = text(name, value).lower()
    if lowered not in {"true", "false", "1", "0"}:
        raise ConfigurationError(f"{name} must be true or false; it is {value!r}")
    return lowered in {"true", "1"}


def positive_int(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if isinstance(value, (bool, float)) or number <= 0:
        raise ConfigurationError(f"{name} must be a whole number above 0; it is {value!r}")
    return number


def whole_number(name: str, value: Any) -> int:
    """0 or more; 0 usually turns something off."""
    return 0 if value in (0, "0") and not isinstance(value, bool) else positive_int(name, value)


def positive_number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise ConfigurationError(f"{name} must be a number above 0; it is {value!r}")
    return number


def positive_seconds(name: str, value: Any) -> float:
    try:
        return positive_number(name, value)
    except ConfigurationError:
        raise ConfigurationError(f"{name} must be a number of seconds above 0; it is {value!r}") from None


def http_url(name: str, value: Any) -> str:
    # The value is never echoed: a malformed one may hold a password, and errors end up in journals.
    given = text(name, value).rstrip("/")
    if "@" in given:
        raise ConfigurationError(f"{name} must not hold a password; use the username and password settings")
    scheme, _, rest = given.partition("://")
    if given and scheme not in {"http", "https"}:
        raise ConfigurationError(f"{name} must start with https://")
    if scheme == "http" and urlsplit(given).hostname not in _LOOPBACK:
        raise ConfigurationError(
            f"{name} must start with https://: on the way, others could read and forge what it carries",
            hint="http:// is for this machine only (127.0.0.1, ::1, localhost), as the practice service is.",
        )
    if given and not rest:
        raise ConfigurationError(f"{name} names no host")
    return given


def views(name: str, value: Any) -> tuple[str, ...]:
    given = texts(name, [v.strip() for v in value.split(",")] if isinstance(value, str) else value)
    unknown = sorted(set(given) - set(VIEWS))
    if unknown or "upright" not in given or len(set(given)) != len(given):
        raise ConfigurationError(
            f"{name} must be distinct views, upright among them; it is {', '.join(given)!r}",
            hint=f"Known: {', '.join(VIEWS)}.",
        )
    return given


def database_url(name: str, value: Any) -> Secret:
    """A PostgreSQL address, which may hold a password: it is never echoed."""
    given = value.reveal() if isinstance(value, Secret) else text(name, value)
    if given and not given.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            f"{name} must start with postgresql://",
            hint="Leave it empty to keep the records in state.db on this machine.",
        )
    return Secret(given)


def secret(name: str, value: Any) -> Secret:
    return value if isinstance(value, Secret) else Secret(text(name, value))


def path(name: str, value: Any) -> Path:
    return value if isinstance(value, Path) else Path(text(name, value)).expanduser()


def path_text(name: str, value: Any) -> str:
    return str(path(name, value))


def rules(name: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise ConfigurationError(f"{name} must be a table of row = action")
    return dict(value)


def texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f"{name} must be a list of texts")
    return tuple(value)
