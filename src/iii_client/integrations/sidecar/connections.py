"""The open connections of a worker: a bounded number, and the idlest one gives way.

Promises: a client that opens many connections and sends nothing keeps nobody out: beyond the bound the
connection is closed whose client was silent for longest, and never one whose upload is complete.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from iii_client.integrations.clamd import Stage

#: What was sent before the stop may still be on its way; a session that is silent for longer is idle.
_IDLE_S = 0.5
_LOOK_EVERY_S = 0.1


@dataclass(slots=True)
class _State:
    stage: Stage
    since_s: float


class Connections:
    """Runs one task for each connection.

    Args:
        most: open at the same time.
        clock: in seconds, monotonic.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        #: The one that was silent for longest first.
        self._open: dict[asyncio.Task[Any], _State] = {}

    async def serve(self, talk: Coroutine[Any, Any, None]) -> None:
        """Run a connection's conversation to its end."""
        task = asyncio.ensure_future(talk)
        self._open[task] = _State(Stage.WAITING, self._clock())
        task.add_done_callback(self._open.pop)
        if len(self._open) > self._most:
            silent = next((one for one, at in self._open.items() if at.stage is not Stage.DECIDING), task)
            silent.cancel()
        await asyncio.wait([task])

    def note(self, stage: Stage) -> None:
        """The conversation that calls this heard of its client, or came to another stage."""
        task = asyncio.current_task()
        if task is not None and (state := self._open.pop(task, None)) is not None:
            state.stage, state.since_s = stage, self._clock()
            self._open[task] = state

    async def drain(self, seconds: float) -> None:
        """Let uploads that are under way end, for so long; sessions without one end now."""
        deadline = self._clock() + seconds
        while self._open:
            now = self._clock()
            for task, state in list(self._open.items()):
                idle = state.stage is Stage.WAITING and now - state.since_s >= _IDLE_S
                if idle or now >= deadline:
                    task.cancel()
            await asyncio.wait(list(self._open), timeout=_LOOK_EVERY_S)
