"""Where chunks are hashed: an address in, a `concurrent.futures.Executor` out.

    local                 threads here, each with a decoder process of its own (default)
    dask://host:port      the workers of a Dask cluster that runs already; the extra `dask`
    module:factory        whatever a function of yours returns

An engine needs no database and keeps nothing: what it forgets when it dies is handed out again. Workers must
be able to read the storage under the same addresses.
"""

import importlib
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from iii_client.errors import ConfigurationError, MissingExtraError, RescanError
from iii_client.rescan.worker import close_workers

_DASK = "dask://"
CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An executor at work.

    Attributes:
        width: chunks that it works on at the same time.
        close: give it back; what runs is waited for.
        is_alive: whether an answer may still come. Dask leaves the futures of a scheduler that is gone open
            for ever (seen: five minutes after "Failed to reconnect").
    """

    executor: Executor
    width: int
    close: Callable[[], None]
    is_alive: Callable[[], bool] = lambda: True


def open_engine(address: str, *, jobs: int = 0) -> Engine:
    """Start or join an engine.

    Args:
        address: see the module.
        jobs: chunks at a time; 0 for what the engine has (local: every core).

    Raises:
        ConfigurationError: no engine has such an address.
        MissingExtraError: Dask without its extra.
        RescanError: the cluster cannot be reached.
    """
    if address == "local":
        return _local(jobs or len(os.sched_getaffinity(0)))
    if address.startswith(_DASK):
        return _dask(address.removeprefix(_DASK), jobs)
    return _of_factory(address, jobs)


def _local(jobs: int) -> Engine:
    executor = ThreadPoolExecutor(jobs, thread_name_prefix="iii-rescan")

    def close() -> None:
        executor.shutdown(cancel_futures=True)
        close_workers()

    return Engine(executor=executor, width=jobs, close=close)


def _dask(host: str, jobs: int) -> Engine:
    try:
        # By name: its own types come and go with what is installed where types are checked.
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise MissingExtraError("a rescan on a Dask cluster", extra="dask") from None
    try:
        client = distributed.Client(f"tcp://{host}", timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except OSError as error:
        raise RescanError(
            "the Dask scheduler cannot be reached", hint="Does it run, and is its port open to this host?"
        ) from error
    threads = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
    if not threads:
        client.close()
        raise RescanError("the Dask cluster has no workers", hint="Start some: dask worker tcp://host:port")
    # Not pure: Dask would name a task by its input, and hand out an old failure as the answer.
    return Engine(
        executor=client.get_executor(pure=False),
        width=jobs or threads,
        close=client.close,
        is_alive=lambda: client.status in {"running", "connecting"},
    )


def _of_factory(address: str, jobs: int) -> Engine:
    module, colon, name = address.partition(":")
    try:
        if not colon or "/" in address:
            raise ImportError(address)
        executor = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            "the engine is not known", hint="It is local, dask://host:port, or module:factory."
        ) from error
    if not isinstance(executor, Executor):
        raise ConfigurationError("the factory's engine is no concurrent.futures.Executor")
    return Engine(executor=executor, width=jobs or os.cpu_count() or 1, close=executor.shutdown)
