"""The practice service, shipped: lists, confirmations by v1 and v2, and a signed filter, on loopback.

    with Sandbox.open(folder) as service:
        service.add_pictures([known])
        service.publish()
        service.start()
        config = Config.from_env(service.env)

Everything in it is harmless: its lists are made from pictures or hashes that somebody points it at.
"""

from iii_client.errors import MissingExtraError

try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("the practice service", extra="sandbox") from error

from iii_client.publisher import ListInfo
from iii_client.sandbox.corpus import Corpus, Found
from iii_client.sandbox.server import Sandbox

__all__ = ["Corpus", "Found", "ListInfo", "Sandbox"]
