"""Every error this library raises, in one tree.

    IIIError                          .hint (one sentence for a human) · .retryable
    ├─ ConfigurationError             a setting is missing or wrong
    │   └─ MissingExtraError          names the extra and the pip line
    ├─ ContentError                   the file's fault; scanning turns it into UNSCANNABLE
    │   ├─ UnreadableContentError     it could not be read at all
    │   │   └─ NotAFileError          a directory, a FIFO, a device
    │   ├─ UnsupportedContentError
    │   ├─ DecodeError
    │   ├─ ContentTooLargeError       .limit
    │   └─ DecodeTimeoutError
    ├─ IsolationError                 the process that decodes cannot be had
    ├─ FilterError                    no usable filter here
    │   ├─ NoFilterError
    │   ├─ FilterExpiredError
    │   ├─ FilterFormatError          .offset
    │   └─ UpdateRunningError         another process updates it right now
    ├─ TrustError                     never retried, never downgraded, always loud
    │   ├─ SignatureError
    │   ├─ RollbackError
    │   ├─ LengthOrHashError
    │   └─ GateError
    │       └─ HeldReleaseError       .release waits for a human's `filter accept`
    ├─ StaleMetadataError             expired or unreachable metadata: retried on schedule
    ├─ TransportError                 cannot reach
    │   ├─ ConnectError
    │   ├─ ServiceTimeoutError
    │   └─ ResponseTooLargeError
    ├─ ServiceError                   reached, refused or nonsense
    │   ├─ AuthenticationError
    │   ├─ RateLimitedError           .retry_after_s
    │   └─ WireFormatError
    ├─ PublishError                   the publisher refuses: it would disclose the list
    ├─ RecordError                    could not record: the ruled action stays in force
    ├─ NotifyError                    .retry_after_s · the application could not be told; tried again later
    └─ RescanError
        ├─ LedgerLockedError
        └─ LedgerVersionError

A match is a value, never an exception. Messages carry no file name, address, key or full hash.
"""


class IIIError(Exception):
    """Root of the tree.

    Attributes:
        hint: one sentence that says what to do.
        retryable: whether the same call may succeed later without anyone changing anything.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            # Shown below a traceback: where an application starts, that is all that somebody sees.
            self.add_note(hint)


class ConfigurationError(IIIError):
    """A setting is missing or wrong."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}'",
            hint=f"Install it with: pip install 'iii-client[{extra}]'",
        )
        self.extra = extra


class ContentError(IIIError):
    """The file's fault."""


class UnreadableContentError(ContentError):
    """The content could not be read: permission, a broken link, a device, a failing disk."""


class NotAFileError(UnreadableContentError):
    """A directory, a FIFO, a socket or a device: not opened, never waited for."""


class UnsupportedContentError(ContentError):
    """A picture of a format that is not on the allow-list."""


class DecodeError(ContentError):
    """The decoder refused the picture."""


class ContentTooLargeError(ContentError):
    """Over a limit, which `limit` names with its unit."""

    def __init__(self, message: str, *, limit: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class DecodeTimeoutError(ContentError):
    """The decoder took too long."""


class IsolationError(IIIError):
    """The helper process that decodes cannot be started, or ends at once. The pictures are not to blame."""

    retryable = True


class FilterError(IIIError):
    """No usable filter here."""


class NoFilterError(FilterError):
    """No filter is installed."""


class FilterExpiredError(FilterError):
    """The installed filter was signed too long ago."""


class FilterFormatError(FilterError):
    """The bytes are no filter of a version this reader knows. `offset` is the byte where that showed."""

    def __init__(self, message: str, *, offset: int | None = None, hint: str = "") -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})", hint=hint)
        self.offset = offset


class UpdateRunningError(FilterError):
    """Another process holds the lock on the installed filter."""

    retryable = True


class TrustError(IIIError):
    """Something that should have been signed is not what was signed."""


class SignatureError(TrustError):
    """A signature or a signature threshold failed."""


class RollbackError(TrustError):
    """Older metadata or an older release than already seen."""


class LengthOrHashError(TrustError):
    """The bytes are not the signed bytes."""


class GateError(TrustError):
    """Signed, but implausible: a gate that does not trust signatures refused it."""


class HeldReleaseError(GateError):
    """A release is held until a human accepts it. `release` is its name, e.g. `5.17`."""

    def __init__(self, message: str, *, release: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.release = release


class StaleMetadataError(IIIError):
    """Metadata is expired, so nothing newer than what is installed can be trusted."""

    retryable = True


class TransportError(IIIError):
    """The other side could not be reached, or not in time or size."""

    retryable = True


class ConnectError(TransportError):
    """No connection, or it broke."""


class ServiceTimeoutError(TransportError):
    """The deadline passed."""


class ResponseTooLargeError(TransportError):
    """The answer was longer than its cap; it was not read."""

    retryable = False


class ServiceError(IIIError):
    """The service was reached and refused, or answered nonsense."""

    retryable = True


class AuthenticationError(ServiceError):
    """The credentials were refused (401 or 403): a configuration alarm, never retried."""

    retryable = False


class RateLimitedError(ServiceError):
    """The service asks to wait (429, or 503 with Retry-After)."""

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class WireFormatError(ServiceError):
    """The answer is not of the contract's form."""

    retryable = False


class PublishError(IIIError):
    """The publisher refuses to build or publish: it would disclose the list, or the list is not fit."""


class RecordError(IIIError):
    """The decision could not be recorded. The ruled action stays in force."""


class NotifyError(IIIError):
    """The application could not be told something; it is told again later."""

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class RescanError(IIIError):
    """A rescan cannot go on."""


class LedgerLockedError(RescanError):
    """Another process runs this rescan."""

    retryable = True


class LedgerVersionError(RescanError):
    """The ledger was written by a version this one cannot read."""
