"""An upload handler in plain Python: `python scan_upload.py FILE…` prints one line a file."""

import sys
from pathlib import Path

from iii_client import Scanner, UploadContext

# Once a process: the scanner is thread-safe and picks up new filter releases by itself.
scanner = Scanner.from_env()


def may_be_stored(upload: Path, uploader: str) -> bool:
    """Whether the application may store and show this upload."""
    decision = scanner.scan(upload, context=UploadContext(route="avatar", uploader=uploader))
    print(f"{upload.name}: {decision.verdict.outcome.value} -> {decision.action.value} ({decision.rule})")
    return decision.allowed


if __name__ == "__main__":
    allowed = [may_be_stored(Path(name), uploader="user-1") for name in sys.argv[1:]]
    sys.exit(0 if all(allowed) else 1)
