"""An upload handler that keeps what it refuses: `python hold_upload.py FILE` moves it into quarantine."""

import sys
from pathlib import Path

from iii_client import Config, Content, Scanner, UploadContext
from iii_client.records.opening import open_store
from iii_client.records.quarantine import Quarantine

# Once a process.
config = Config.from_env()
scanner = Scanner.from_config(config)
quarantine = Quarantine.from_config(config, open_store(config.records, config.state_dir))


def take(upload: Path, uploader: str) -> str:
    """Store an upload. Returns what to tell the uploader; empty when all is well."""
    decision = scanner.scan(upload, context=UploadContext(route="files", uploader=uploader))
    if decision.allowed:
        return ""
    # With an origin, a late "not listed" puts the file there by itself.
    with Content.from_path(upload) as content:
        quarantine.hold(content, decision.encounter_id, str(upload.absolute()), move=True)
    return f"This file cannot be taken. Reference: {decision.case_reference}"


if __name__ == "__main__":
    refusal = take(Path(sys.argv[1]), uploader="user-1")
    print(refusal or "stored")
    sys.exit(1 if refusal else 0)
