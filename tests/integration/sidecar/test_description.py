"""schemathesis reads the description, and tries what it allows and what it does not on a real sidecar."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.sidecar.conftest import StartSidecar

#: Of each operation and phase. In full: III_TEST_EXAMPLES=100.
EXAMPLES = os.environ.get("III_TEST_EXAMPLES", "8")
TOKEN = "practice"
#: pict-rs is refused an upload by the status, so a request of the right form may get 422 for what is in it.
#: The fields of a multipart form are texts whatever was put into them: a number there is no fault.
SETTINGS = """
[[operations]]
include-name = "POST /scan"
[operations.checks.negative_data_rejection]
enabled = false
[[operations]]
include-name = "POST /pict-rs"
[operations.checks.positive_data_acceptance]
enabled = false
"""


@pytest.mark.skipif(
    shutil.which("schemathesis", path=str(Path(sys.executable).parent)) is None,
    reason="schemathesis is not installed",
)
def test_schemathesis_finds_nothing(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    tokens = tmp_path / "tenants.toml"
    (tmp_path / "schemathesis.toml").write_text(SETTINGS, encoding="utf-8")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(f'[shop]\ntoken_sha256 = "{digest}"\n', encoding="utf-8")
    with start_sidecar("--workers", "1", "--http-port", "0", "--tokens", str(tokens)) as running:
        (address,) = [one["at"] for one in running.listening if one["at"].startswith("127.0.0.1:")]
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "schemathesis"),
                "run",
                f"http://{address}/openapi.json",
                "--header",
                f"Authorization: Bearer {TOKEN}",
                f"--max-examples={EXAMPLES}",
                "--generation-database=none",
                "--seed=7",
                "--no-color",
            ],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.startswith("III_")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
