"""Exit codes. An uncaught exception must not read as "matches found", so it has a code of its own."""

from enum import IntEnum

from iii_client.errors import ConfigurationError, IIIError, TrustError


class ExitCode(IntEnum):
    """What the command's exit code says."""

    NO_MATCH = 0
    MATCHES_FOUND = 1
    USAGE = 2
    INCOMPLETE = 3
    TRUST_FAILURE = 4
    INTERNAL_ERROR = 5
    INTERRUPTED = 130


def exit_code_of(error: IIIError) -> ExitCode:
    """The code for a command that ended with an error of ours."""
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    if isinstance(error, TrustError):
        return ExitCode.TRUST_FAILURE
    return ExitCode.INCOMPLETE
