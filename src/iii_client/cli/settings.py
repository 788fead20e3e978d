"""The configuration for commands that need no mode: who only asks, or keeps a list, has chosen none yet."""

from collections.abc import Mapping

from iii_client.config import NO_MODE, Config
from iii_client.errors import ConfigurationError
from iii_client.model import Mode


def config_without_mode(environment: Mapping[str, str]) -> tuple[Config, bool]:
    """The configuration, and whether a mode is set; `enforce` stands in for one that is not.

    Raises:
        ConfigurationError: a setting is unknown or malformed, the mode included.
    """
    try:
        return Config.from_env(environment), True
    except ConfigurationError as error:
        if str(error) != NO_MODE:
            raise
        return Config.from_env({**environment, "III_MODE": Mode.ENFORCE.value}), False
