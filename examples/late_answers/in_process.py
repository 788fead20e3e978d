"""Drains in a thread of the application: python in_process.py PICTURE"""

import os
import sys
import threading
from pathlib import Path

from iii_client import Config, Scanner, UploadContext
from iii_client.drain import Drainer
from iii_client.notify import CallbackCourier

told = threading.Event()


def on_late_answer(answer):
    """May be called twice for one answer."""
    print(
        {"allow": "publish", "block": "take down"}.get(answer.action.value, "keep hidden"), answer.reference
    )
    told.set()


config = Config.from_env()
drainer = Drainer.from_config(config, couriers=[CallbackCourier(on_late_answer)])

# An upload while nobody listens at the service's address.
down = Config.from_env({**os.environ, "III_SERVICE_URL": "http://127.0.0.1:9"})
with Scanner.from_config(down) as scanner:
    decision = scanner.scan(Path(sys.argv[1]), context=UploadContext(reference="upload/42"))
print(decision.verdict.outcome.value, decision.action.value, "case", decision.case_reference)

background = drainer.run_in_background()  # in a web application: once a worker process
if not told.wait(30):
    sys.exit("no late answer came")
background.close()
