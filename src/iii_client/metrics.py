"""Numbers of one host for Prometheus, read from what its workers share: filter, store, cache.

    state directory, database ──► gather ──► metrics ──► as_text ──► write_textfile, or an exporter of yours

Workers count what they do themselves (`integrations/prometheus.py`); what is a state of the host and not of a
worker stands here, so that it is told once, however many workers there are.

Promises: a part that cannot be read is told as such (`iii_state_readable 0`) and does not hide the others;
no label names a file, a person, an address or a hash.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from iii_client.config import Config
from iii_client.errors import ConfigurationError, FilterError, RecordError
from iii_client.model import Freshness, Release, freshness
from iii_client.model.breakers import CLOSED, BreakerState
from iii_client.records.breakers import Breakers
from iii_client.records.cache import Cache
from iii_client.records.opening import open_store
from iii_client.records.overview import NOTHING_YET, Overview, look_over
from iii_client.records.store import as_ms
from iii_client.service import endpoint_of
from iii_client.service.breaker import Phase, paused_s, phase
from iii_client.updates import FilterStore

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of Prometheus.

    Attributes:
        name: with its unit, e.g. `iii_filter_age_seconds`.
        explained: one sentence.
        kind: `gauge` or `counter`.
        samples: labels and values.
    """

    name: str
    explained: str
    kind: str = "gauge"
    samples: tuple[tuple[Labels, float], ...]


def gather(config: Config, *, now: datetime) -> tuple[Metric, ...]:
    """All metrics of this host.

    Raises:
        ConfigurationError: the database of the configuration cannot be used at all.
    """
    return (
        *_of_filter(config, now=now),
        *_of_store(config, now=now),
        _one(
            "iii_cache_bytes",
            "Size of cache.db on disk, with its log.",
            Cache.from_config(config).size_bytes() if config.records.cache else 0,
        ),
    )


def as_text(metrics: Sequence[Metric]) -> str:
    """The text format of Prometheus, version 0.0.4."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.explained}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value in metric.samples:
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in sorted(labels.items()))
            lines.append(
                f"{metric.name}{{{inside}}} {_number(value)}" if inside else f"{metric.name} {_number(value)}"
            )
    return "".join(f"{line}\n" for line in lines)


def write_textfile(path: Path, text: str) -> None:
    """Replace a file for node_exporter's textfile collector; a reader sees the old one or the new one.

    Raises:
        ConfigurationError: it cannot be written.
    """
    # Not `.prom`, or the collector would read a half-written one.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # Readable for all: node_exporter runs as a user of its own, and nothing in it is secret.
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigurationError(
            f"the metrics cannot be written: {error.strerror}",
            hint="--textfile must name a file in a directory that this user may write.",
        ) from error


def _of_filter(config: Config, *, now: datetime) -> tuple[Metric, ...]:
    if config.filter.bypassed:
        return ()
    try:
        release = FilterStore(config.state_dir).installed()
    except FilterError:
        return (_freshness(Freshness.NONE),)
    return (_freshness(freshness(release.signed_at, now=now)), *_of_release(release, now=now))


def _freshness(current: Freshness) -> Metric:
    return _states(
        "iii_filter_freshness", "1 for the state of the installed filter.", "state", list(Freshness), current
    )


def _of_release(release: Release, *, now: datetime) -> tuple[Metric, ...]:
    return (
        _one(
            "iii_filter_age_seconds",
            "Since the installed filter was signed; negative when a clock is wrong.",
            (now - release.signed_at).total_seconds(),
        ),
        _one("iii_filter_epoch", "Epoch of the installed release.", release.id.epoch),
        _one("iii_filter_sequence", "Sequence of the installed release in its epoch.", release.id.sequence),
    )


def _of_store(config: Config, *, now: datetime) -> tuple[Metric, ...]:
    overview, breaker = NOTHING_YET, CLOSED
    # A timer of another user must not make the workers' database: they could not write into it.
    if config.records.database or (config.state_dir / "state.db").exists():
        store = open_store(config.records, config.state_dir)
        try:
            overview = look_over(store, now=now)
            breaker = Breakers(store).get(endpoint_of(config.service))
        except RecordError:
            return (_readable(readable=False),)
        finally:
            store.close()
    return (
        _readable(readable=True),
        *_of_overview(overview, now=now),
        *_of_service(breaker, now_ms=as_ms(now)),
    )


def _readable(*, readable: bool) -> Metric:
    return _one("iii_state_readable", "Whether the state database can be used.", float(readable))


def _of_overview(overview: Overview, *, now: datetime) -> tuple[Metric, ...]:
    outbox = overview.outbox
    oldest = outbox.oldest_pending_at
    return (
        _many(
            "iii_outbox_items",
            "Items in the outbox: waiting for the service, of those due now, and waiting for a person.",
            "state",
            {"pending": outbox.pending, "due": outbox.due, "for_review": outbox.for_review},
        ),
        _one(
            "iii_outbox_oldest_seconds",
            "Age of the oldest item that waits for the service; 0 when none does.",
            (now - oldest).total_seconds() if oldest else 0,
        ),
        _one(
            "iii_notices_pending",
            "Messages that the application has not taken yet.",
            overview.notices_pending,
        ),
        _many("iii_held_items", "Files in quarantine by state.", "state", overview.held),
        _many(
            "iii_alarms",
            "How often each alarm went off that nobody has dismissed.",
            "kind",
            {alarm.kind: alarm.times for alarm in overview.alarms},
        ),
        _many(
            "iii_tally_total", "Counts since the state was made.", "name", overview.tallies, kind="counter"
        ),
    )


def _of_service(breaker: BreakerState, *, now_ms: int) -> tuple[Metric, ...]:
    return (
        _states(
            "iii_service_phase",
            "1 for the state of the service's circuit breaker.",
            "phase",
            [one.value for one in Phase],
            phase(breaker, now_ms=now_ms).value,
        ),
        _one(
            "iii_service_paused_seconds",
            "How long the service is still left alone.",
            paused_s(breaker, now_ms=now_ms),
        ),
        _one(
            "iii_service_refused",
            "1 while the service refuses the credentials.",
            float(bool(breaker.alarm)),
        ),
    )


def _one(name: str, explained: str, value: float) -> Metric:
    return Metric(name=name, explained=explained, samples=(({}, value),))


def _many(
    name: str, explained: str, label: str, values: Mapping[str, float], *, kind: str = "gauge"
) -> Metric:
    samples = tuple(({label: text}, value) for text, value in values.items())
    return Metric(name=name, explained=explained, kind=kind, samples=samples)


def _states(name: str, explained: str, label: str, states: Sequence[str], current: str) -> Metric:
    return _many(name, explained, label, {str(state): float(state == current) for state in states})


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    # `g` would round a count to six digits.
    return str(int(value)) if float(value).is_integer() else repr(float(value))
