"""One finding of the doctor, and how an error becomes one."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from iii_client.cli.exits import ExitCode
from iii_client.errors import ConfigurationError, IIIError, TrustError


class State(StrEnum):
    """How one check ended. MISSING is somebody's decision or delivery still to come."""

    OK = "ok"
    WARN = "warn"
    MISSING = "missing"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        says: what is so.
        todo: whom to ask or what to do; empty when nothing is to be done.
        without: what works all the same.
    """

    name: str
    state: State
    says: str
    todo: str = ""
    without: str = ""
    exit_code: ExitCode = ExitCode.NO_MATCH


def guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except IIIError as error:
        return failed(name, error)


def failed(name: str, error: IIIError) -> Check:
    code = ExitCode.INCOMPLETE
    if isinstance(error, ConfigurationError):
        code = ExitCode.USAGE
    elif isinstance(error, TrustError):
        code = ExitCode.TRUST_FAILURE
    return Check(name=name, state=State.FAIL, says=str(error), todo=error.hint, exit_code=code)
