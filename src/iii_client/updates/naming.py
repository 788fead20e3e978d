"""Names for what TUF refuses: every error of its client as one of ours, with what to do.

The clock is looked at first: metadata that is expired here and not there is a clock that is wrong, and the
message says by how much. It is never passed over: a freeze looks the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError

from iii_client.errors import (
    AuthenticationError,
    IIIError,
    LengthOrHashError,
    RollbackError,
    ServiceError,
    SignatureError,
    StaleMetadataError,
    TrustError,
    WireFormatError,
)
from iii_client.model import CLOCK_TOLERANCE_S
from iii_client.updates.fetcher import RepositoryFetcher

#: Largest clock difference that is put down to bad luck.
CLOCK_TOLERANCE = timedelta(seconds=CLOCK_TOLERANCE_S)

_STAYS = "The filter in use stays."


@contextmanager
def named_errors(fetcher: RepositoryFetcher | None) -> Iterator[None]:
    """Every error of TUF under a name of ours, with what to do."""
    try:
        yield
    except (RepositoryError, DownloadError, DeserializationError) as error:
        raise _name(error, fetcher) from error


def _name(error: Exception, fetcher: RepositoryFetcher | None) -> IIIError:
    match error:
        case UnsignedMetadataError():
            return SignatureError(
                "the repository's metadata is not signed by the pinned root's keys",
                hint="Check that III_FILTER_ROOT and III_FILTER_URL belong together. If they do, somebody "
                f"tampers with the connection: tell the publisher. {_STAYS}",
            )
        case BadVersionNumberError():
            return RollbackError(
                "the repository offers older metadata than was already seen",
                hint=f"A mirror may lag, or somebody replays old files: tell the publisher. {_STAYS}",
            )
        case ExpiredMetadataError():
            return _stale(fetcher)
        case LengthOrHashMismatchError():
            return LengthOrHashError(
                "the bytes are not the signed bytes",
                hint=f"Somebody or something changes files on the way: tell the publisher. {_STAYS}",
            )
        case DownloadHTTPError(status_code=403):
            return AuthenticationError(
                "the repository refused access (403)",
                hint="Check III_FILTER_USERNAME and III_FILTER_PASSWORD, and whether access was revoked.",
            )
        case DownloadHTTPError():
            return ServiceError(
                "a file of the filter repository is missing (404)",
                hint="Check III_FILTER_URL: `metadata/timestamp.json` must lie under it.",
            )
        case DownloadError():
            return ServiceError(f"the download failed ({type(error).__name__})", hint=_STAYS)
        case _ if isinstance(error, DeserializationError) or isinstance(
            error.__cause__, DeserializationError
        ):
            return WireFormatError(
                "the answer is not TUF metadata",
                hint="Check III_FILTER_URL; a proxy or login page may answer in the repository's place.",
            )
        case _:
            return TrustError(
                f"the repository's metadata is inconsistent ({type(error).__name__})", hint=_STAYS
            )


def _stale(fetcher: RepositoryFetcher | None) -> StaleMetadataError:
    skew = timedelta(seconds=(fetcher.clock_skew_s if fetcher else None) or 0.0)
    if abs(skew) > CLOCK_TOLERANCE:
        where = "ahead of" if skew > timedelta(0) else "behind"
        return StaleMetadataError(
            f"the metadata is expired by this machine's clock, which is {hours(abs(skew))} {where} the "
            "server's",
            hint=f"Set this machine's clock (NTP), then update again. {_STAYS}",
        )
    return StaleMetadataError(
        "the repository's metadata is expired",
        hint="The publisher does not re-sign, or somebody holds newer files back: tell the publisher. "
        f"{_STAYS}",
    )


def hours(span: timedelta) -> str:
    """A time for people: `1.5 h`."""
    return f"{span.total_seconds() / 3600:.1f} h"
