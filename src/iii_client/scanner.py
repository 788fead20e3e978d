"""The library's main noun: one item in, one decision out.

    scanner = Scanner.from_env()
    decision = scanner.scan(Content.from_path(path))
    if not decision.allowed:
        ...

Promises: `scan` never raises for content, filter, network or recording; each of those is a verdict with a
reason, or a decision that says it was not recorded. Only construction raises. One scan pins one release of
the filter. Thread-safe. Nothing leaves the process for an item without a filter hit.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Self

from iii_client.checking import Checker
from iii_client.config import Config, Limits
from iii_client.content import Content
from iii_client.errors import IsolationError
from iii_client.fingerprint import (
    FingerprintBuilder,
    HashingPool,
    Isolation,
    LooksHere,
    PixelReader,
    build_fingerprint,
    early_sha256,
    look_again,
    warm_up,
)
from iii_client.model import ANONYMOUS, Decision, Fingerprint, HashValue, Recipe, Remembered, UploadContext
from iii_client.parts import Closable, Parts
from iii_client.protocols import Memory, Observer

logger = logging.getLogger(__name__)

ScanInput = Content | bytes | os.PathLike[str] | BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanItem:
    """One of many items for `scan_many`."""

    content: Content
    context: UploadContext = ANONYMOUS


class Scanner:
    """Hashes locally, looks up locally, confirms probable hits, decides, and writes down what matters.

    Args:
        checker: decides about what was hashed.
        recipe: how to hash.
        limits: what is read and decoded at most.
        isolation: where pictures are decoded; in this process without one.
        memory: remembers the fingerprints of bytes that were seen before.
        closing: what `close` closes.
    """

    def __init__(
        self,
        checker: Checker,
        *,
        recipe: Recipe,
        limits: Limits,
        isolation: Isolation | None = None,
        memory: Memory | None = None,
        closing: Sequence[Closable] = (),
    ) -> None:
        self._checker = checker
        self._recipe = recipe
        self._limits = limits
        self._isolation = isolation
        self._reader: PixelReader = isolation or LooksHere()
        self._memory = memory
        self._closing = tuple(closing)

    @classmethod
    def from_env(cls, *, observers: Sequence[Observer] = ()) -> Self:
        """Build from `III_*` environment variables (see `iii_client.config`).

        Args:
            observers: are told of every decision, e.g. `PrometheusObserver()`.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        return cls.from_config(Config.from_env(), observers=observers)

    @classmethod
    def from_config(
        cls, config: Config, *, counts_hits: bool = True, observers: Sequence[Observer] = ()
    ) -> Self:
        """Build with the library's own parts.

        Args:
            counts_hits: False where a person scans what is stored: a folder full of finds must neither be
                ruled by the budgets of the uploads nor use them up.
            observers: are told of every decision.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        return cls.from_parts(Parts.from_config(config), counts_hits=counts_hits, observers=observers)

    @classmethod
    def from_parts(
        cls, parts: Parts, *, counts_hits: bool = True, observers: Sequence[Observer] = ()
    ) -> Self:
        """Build over parts that others, such as a `Drainer`, use too. Arguments as for `from_config`."""
        return cls(
            parts.checker(counts_hits=counts_hits, observers=observers),
            recipe=parts.recipe,
            limits=parts.config.limits,
            isolation=parts.isolation,
            memory=parts.cache,
            closing=parts.closing,
        )

    def scan(self, content: ScanInput, *, context: UploadContext = ANONYMOUS) -> Decision:
        """Look at one item and decide.

        Args:
            content: a `Content`, the bytes, a path object, or a binary file (read from its start, and
                handed back open and at its old position).
            context: where it came from; kept locally.
        """
        content = _as_content(content)
        (decision,) = self._checker.check(
            [self._see(content)], [context], look_again=self._second_looks([content])
        )
        return decision

    def scan_many(self, items: Iterable[ScanItem], *, jobs: int = 1) -> Iterator[tuple[ScanItem, Decision]]:
        """Look at many items, in order; hash in `jobs` processes and check what is ready as one batch.

        Reads `items` only a bounded number ahead, so an endless iterable is fine. Workers are recycled, as
        for pictures of one's own: see `Isolation.recycling`.
        """
        with HashingPool(
            jobs=jobs, recipe=self._recipe, limits=self._limits, isolation=self._isolation
        ) as pool:
            for batch in pool.batches(items, lambda item: item.content):
                scanned = [item for item, _ in batch]
                decisions = self._checker.check(
                    [Remembered(fingerprint=found) for _, found in batch],
                    [item.context for item in scanned],
                    look_again=self._second_looks([item.content for item in scanned]),
                )
                yield from zip(scanned, decisions, strict=True)

    def fingerprint(self, content: ScanInput) -> Fingerprint:
        """Hash one item; no filter, no network."""
        return build_fingerprint(
            _as_content(content), recipe=self._recipe, limits=self._limits, reader=self._reader
        )

    def start_fingerprint(self, *, keeps_bytes: bool = True) -> FingerprintBuilder:
        """Hash an upload while it streams in: `update(chunk)`, then `check([builder.finish()])`.

        Args:
            keeps_bytes: False where the application keeps them, and gives them to `finish(content)`.
        """
        return FingerprintBuilder(
            recipe=self._recipe,
            limits=self._limits,
            reader=self._reader,
            recall=self._recalled_fingerprint,
            keeps_bytes=keeps_bytes,
        )

    def check(
        self, fingerprints: Sequence[Fingerprint], *, contexts: Sequence[UploadContext] = ()
    ) -> tuple[Decision, ...]:
        """Decide about items that were hashed before, without reading them again. Aligned.

        Args:
            fingerprints: of this scanner's recipe.
            contexts: where each came from, aligned; none for all anonymous.

        Raises:
            ValueError: contexts that are not aligned.
        """
        if contexts and len(contexts) != len(fingerprints):
            raise ValueError(f"{len(fingerprints)} fingerprints and {len(contexts)} contexts")
        seen = [Remembered(fingerprint=fingerprint) for fingerprint in fingerprints]
        return self._checker.check(seen, contexts or [ANONYMOUS] * len(fingerprints))

    def warm_up(self) -> None:
        """Pay the first scan's costs (imports, tables, opening the filter) now."""
        warm_up()
        if self._isolation is not None:
            try:
                self._isolation.warm_up()
            except IsolationError as error:  # each picture will say so, and be unscannable
                logger.warning("%s. %s", error, error.hint)
        self._checker.current_filter()

    def close(self) -> None:
        """Release this thread's handles. The scanner opens them again if it is used again."""
        for part in self._closing:
            part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _second_looks(self, contents: Sequence[Content]) -> list[Callable[[Fingerprint], Fingerprint]]:
        """By a worker that saw nothing else; none where pictures are decoded in this process."""
        if self._isolation is None:
            return []
        return [
            partial(look_again, content, recipe=self._recipe, limits=self._limits, reader=self._isolation)
            for content in contents
        ]

    def _recalled_fingerprint(self, sha256: HashValue) -> Fingerprint | None:
        known = None if self._memory is None else self._memory.recall(sha256, recipe=self._recipe.id)
        return None if known is None else known.fingerprint

    def _see(self, content: Content) -> Remembered:
        """The fingerprint, remembered or made: a re-upload costs one digest."""
        sha256 = early_sha256(content) if self._memory is not None else None
        if self._memory is not None and sha256 is not None:
            known = self._memory.recall(sha256, recipe=self._recipe.id)
            if known is not None:
                return known
        return Remembered(
            fingerprint=build_fingerprint(
                content, recipe=self._recipe, limits=self._limits, sha256=sha256, reader=self._reader
            )
        )


def _as_content(content: ScanInput) -> Content:
    if isinstance(content, Content):
        return content
    if isinstance(content, (bytes, bytearray, memoryview)):
        return Content.from_bytes(bytes(content))
    if isinstance(content, os.PathLike):
        return Content.from_path(content)
    if not hasattr(content, "read"):
        # A text might be a path, a URL or the content itself; guessing would be a hole.
        raise TypeError(f"a {type(content).__name__} is not content; use Content.from_path or from_url")
    return Content.from_file(content)
