"""Counters of a worker for Prometheus, in the extra `[prometheus]`.

    scanner = Scanner.from_env(observers=[PrometheusObserver()])

Counters and histograms only, so that `prometheus_client`'s multi-process mode adds up what all workers of a
host counted. What is a state of the host (age of the filter, depth of the outbox) is told once, by
`iii-client metrics`, or by `StateCollector` in an exporter that is one process and not in that mode.

Promises: no label names a file, a person, an address or a hash; each takes one of a few values that stand in
this library.
"""

import logging
from collections.abc import Iterable
from datetime import datetime
from functools import cache

from iii_client.config import Config
from iii_client.errors import MissingExtraError
from iii_client.metrics import gather
from iii_client.model import ANSWERABLE_REASONS, Decision, Reason, Recorded
from iii_client.records.store import utc_now

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    raise MissingExtraError("the Prometheus integration", extra="prometheus") from error

logger = logging.getLogger(__name__)

#: Upper limits in seconds. An innocent file takes about a millisecond, a confirmation up to its budget (0.8).
CHECK_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.8, 1.0, 2.5, 10.0)

#: Reasons that are an answer of the service, or the want of one.
_RESULTS = frozenset(
    {
        *ANSWERABLE_REASONS,
        Reason.NOT_LISTED,
        Reason.WITHDRAWN,
        Reason.SERVICE_CANNOT_CONFIRM,
        Reason.SERVICE_CANNOT_CONFIRM_DIGEST,
        Reason.OWN_HASH_WITHHELD,
        Reason.ALLOW_LISTED,
    }
)


class PrometheusObserver:
    """Counts decisions. Fits `protocols.Observer`. Any number of them share the metrics of one registry.

    Args:
        registry: where to; the default one unless given.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._metrics = _metrics_of(registry)

    def scanned(self, decision: Decision, *, seconds: float, recalled: bool) -> None:
        """Count one item. Never raises."""
        try:
            self._count(decision, seconds=seconds, recalled=recalled)
        except OSError as error:
            # In multi-process mode counts are files, and the directory may be gone. No upload fails for it.
            logger.warning("an item could not be counted: %s", error.strerror)

    def _count(self, decision: Decision, *, seconds: float, recalled: bool) -> None:
        metrics, verdict = self._metrics, decision.verdict
        metrics.items.labels(verdict.outcome.value, decision.action.value, decision.mode.value).inc()
        metrics.seconds.observe(seconds)
        if recalled:
            metrics.recalled.inc()
        for reason in verdict.reasons:
            metrics.reasons.labels(reason.value).inc()
        if verdict.candidates:
            metrics.candidates.inc()
            for result in _results(decision):
                metrics.results.labels(result).inc()
        if verdict.hashes_sent:
            metrics.hashes_sent.inc(verdict.hashes_sent)
        if decision.guard:
            metrics.guarded.labels(decision.guard).inc()
        if decision.recorded is Recorded.FAILED:
            metrics.unrecorded.inc()


class StateCollector(Collector):
    """What `iii-client metrics` tells, gathered at each scrape: for an exporter that is one process.

    Not for the multi-process mode, in which collectors of one's own are not asked, and each worker would tell
    the same numbers.

    Args:
        config: of the host.
        registry: where it registers itself.
    """

    def __init__(self, config: Config, *, registry: CollectorRegistry = REGISTRY) -> None:
        self._config = config
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not open the state."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The metrics of this moment."""
        return self.collect_at(utc_now())

    def collect_at(self, now: datetime) -> Iterable[Metric]:
        """The metrics of a moment, aware."""
        for metric in gather(self._config, now=now):
            names = sorted({name for labels, _ in metric.samples for name in labels})
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            collected = family(metric.name, metric.explained, labels=names)
            for labels, value in metric.samples:
                collected.add_metric([labels[name] for name in names], value)
            yield collected


class _Metrics:
    """The metrics of one registry; a name can be registered there only once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = Counter(
            "iii_items_total",
            "Items decided.",
            ["outcome", "action", "mode"],
            registry=registry,
        )
        self.reasons = Counter(
            "iii_reasons_total", "Reasons given; an item may have several.", ["reason"], registry=registry
        )
        self.candidates = Counter("iii_candidates_total", "Items that hit the filter.", registry=registry)
        self.results = Counter(
            "iii_confirmations_total",
            "What came of asking about items that hit; an item may have several.",
            ["result"],
            registry=registry,
        )
        self.hashes_sent = Counter(
            "iii_hashes_sent_total", "Hashes that left this host for the service.", registry=registry
        )
        self.recalled = Counter(
            "iii_recalled_total", "Items whose bytes had been seen before.", registry=registry
        )
        self.guarded = Counter(
            "iii_guarded_total", "Items beyond a budget of filter hits.", ["budget"], registry=registry
        )
        self.unrecorded = Counter(
            "iii_unrecorded_total", "Decisions that could not be recorded.", registry=registry
        )
        self.seconds = Histogram(
            "iii_check_seconds",
            "Looking up, asking and recording one item; hashing is not in it.",
            buckets=CHECK_SECONDS,
            registry=registry,
        )


@cache
def _metrics_of(registry: CollectorRegistry) -> _Metrics:
    return _Metrics(registry)


def _results(decision: Decision) -> list[str]:
    listed = ["listed"] if decision.verdict.matches else []
    return listed + [reason.value for reason in decision.verdict.reasons if reason in _RESULTS]
