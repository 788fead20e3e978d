"""Keep known abuse material off your servers, without any image leaving them.

    from pathlib import Path
    from iii_client import Scanner

    scanner = Scanner.from_env()              # III_MODE, III_FILTER_URL, III_SERVICE_URL, ...
    decision = scanner.scan(Path("upload.jpg"))
    if not decision.allowed:
        hide(decision.verdict.outcome, decision.encounter_id)

Files are hashed here and looked up in a signed Bloom filter here; only the hash of a probable hit is sent
to the service for confirmation. Start at `Scanner`; the values it speaks in are in `iii_client.model`, the
errors of construction and update in `iii_client.errors`, every setting in `iii_client.config`.

Importing this package loads the standard library alone; numpy, Pillow, requests and tuf come with the
first name that needs them.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iii_client.config import Config
    from iii_client.content import Content
    from iii_client.errors import IIIError
    from iii_client.fingerprint import FingerprintBuilder
    from iii_client.model import (
        Action,
        Algorithm,
        Candidate,
        Category,
        Decision,
        Fingerprint,
        HashValue,
        Match,
        Mode,
        Outcome,
        PerceptualHash,
        Reason,
        UploadContext,
        Verdict,
        hamming_distance,
    )
    from iii_client.scanner import ScanItem, Scanner
    from iii_client.updates import Updater

__version__ = "0.1.0"

# A library logs and leaves it to the application whether anybody listens.
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOME = {
    "Config": "config",
    "Content": "content",
    "FingerprintBuilder": "fingerprint",
    "IIIError": "errors",
    "ScanItem": "scanner",
    "Scanner": "scanner",
    "Updater": "updates",
}

__all__ = [
    "Action",
    "Algorithm",
    "Candidate",
    "Category",
    "Config",
    "Content",
    "Decision",
    "Fingerprint",
    "FingerprintBuilder",
    "HashValue",
    "IIIError",
    "Match",
    "Mode",
    "Outcome",
    "PerceptualHash",
    "Reason",
    "ScanItem",
    "Scanner",
    "Updater",
    "UploadContext",
    "Verdict",
    "hamming_distance",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'model')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
