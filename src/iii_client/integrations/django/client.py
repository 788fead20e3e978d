"""One scanner a process, from Django's settings, made when the first upload needs it.

`settings.III_CLIENT` holds the same names as the TOML file and wins over it and over `III_*` variables; what
it leaves out comes from there, which is where secrets belong.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from iii_client.config import Config
from iii_client.errors import ConfigurationError
from iii_client.parts import Parts
from iii_client.scanner import Scanner

SETTING = "III_CLIENT"


def own_settings() -> Mapping[str, Any]:
    """What `settings.III_CLIENT` holds; empty when there is none.

    Raises:
        ConfigurationError: it is no dict.
    """
    given = getattr(settings, SETTING, {})
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{SETTING} must be a dict", hint="With the same names as the TOML file.")
    return given


def get_config() -> Config:
    """The configuration, read anew.

    Raises:
        ConfigurationError: a setting is missing, unknown or malformed.
    """
    return Config.from_env(over=own_settings())


@cache
def get_parts() -> Parts:
    """The parts that scanner, drainer and admin of this process share. Safe after a fork.

    Raises:
        ConfigurationError: as `get_config`.
    """
    return Parts.from_config(get_config())


@cache
def get_scanner() -> Scanner:
    """This process's scanner. Thread-safe, and safe after a fork.

    Raises:
        ConfigurationError: as `get_config`.
    """
    return Scanner.from_parts(get_parts())


def _forget(*, setting: str, **_: object) -> None:
    """A test has overridden the settings: close what was open, and build anew."""
    if setting == SETTING:
        if get_parts.cache_info().currsize:
            for part in get_parts().closing:
                part.close()
        get_scanner.cache_clear()
        get_parts.cache_clear()


setting_changed.connect(_forget, dispatch_uid="iii_client.settings")
