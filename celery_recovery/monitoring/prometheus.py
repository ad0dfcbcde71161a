"""Prometheus: `METRICS` as a collector, with the figures read at most every few seconds.

    registry.register(RecoveryCollector(Cached(reader.read)))       # reads when it is asked
    registry.register(RecoveryCollector(Background(reader.read)))   # reads in a thread; whoever asks never waits

While Redis is away there is `celery_recovery_up 0`, and no figure: what is not known is not 0. Nothing is ever raised.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.monitoring.counting import Labels
from celery_recovery.monitoring.fleet import Fleet
from celery_recovery.monitoring.metrics import METRICS, READ, UP, Distribution, Metric
from celery_recovery.text import visible

__all__ = ("PREFIX", "Background", "Cached", "Reading", "RecoveryCollector")

logger = logging.getLogger("celery_recovery")

PREFIX = "celery_recovery_"
#: Seconds for which a reading is told again, and between two readings of a thread.
FRESH, INTERVAL = 3.0, 5.0
#: Seconds after which what a thread has read counts as unknown: it cannot read any more.
STALE = 30.0

_FAMILIES = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}


class Reading(NamedTuple):
    """What was read, or could not be."""

    #: None: it could not.
    fleet: Fleet | None
    #: Seconds that it took.
    took: float
    #: When (monotonic clock).
    at: float


class RecoveryCollector:
    """For a `CollectorRegistry`. `source` gives the last reading; None: there is none yet, and nothing is told."""

    def __init__(self, source: Callable[[], Reading | None]) -> None:
        self._source = source

    def describe(self) -> Iterator[Family]:
        """The families without samples: a registry need not read to know their names."""
        for metric in METRICS:
            yield _family(metric)

    def collect(self) -> Iterator[Family]:
        """All families with their samples."""
        reading = self._source()
        if reading is None:
            return
        families = None if reading.fleet is None else _families(reading.fleet)
        yield _single(UP, 0.0 if families is None else 1.0)
        yield _single(READ, reading.took)
        yield from families or ()


class Cached:
    """Reads when it is asked, unless it has read just now. Whoever asks meanwhile waits for the same reading."""

    def __init__(self, read: Callable[[], Fleet], fresh: float = FRESH) -> None:
        self._attempt = _Attempt(read)
        self._fresh = fresh
        self._lock = threading.Lock()
        self._last: Reading | None = None

    def __call__(self) -> Reading:
        """The last reading, or a new one."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last.at > self._fresh:
                self._last = self._attempt()
            return self._last


class Background:
    """Reads in a thread of its own, from `start` to `stop`; whoever asks is given the last reading at once."""

    def __init__(self, read: Callable[[], Fleet], interval: float = INTERVAL) -> None:
        self._attempt = _Attempt(read)
        self._interval = interval
        self._stopped = threading.Event()
        self._last: Reading | None = None
        self._thread = threading.Thread(target=self._read_on, name="recovery-metrics", daemon=True)

    def __call__(self) -> Reading | None:
        """The last reading; None: the first is not through yet."""
        last = self._last
        if last is not None and time.monotonic() - last.at > STALE:
            return Reading(None, last.took, last.at)
        return last

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stopped.set()

    def _read_on(self) -> None:
        while not self._stopped.is_set():
            self._last = self._attempt()
            self._stopped.wait(self._interval)


class _Attempt:
    """Reads, and never raises; says once that it cannot, and once that it can again."""

    def __init__(self, read: Callable[[], Fleet]) -> None:
        self._read = read
        self._failing = False

    def __call__(self) -> Reading:
        began = time.monotonic()
        try:
            fleet = self._read()
        except StoreUnavailable as exc:
            self._failed(str(exc))
            return self._reading(None, began)
        except Exception as exc:  # noqa: BLE001  # a scrape must not fail, whatever it is
            self._failed(f"{type(exc).__name__}: {exc}")
            return self._reading(None, began)
        if self._failing:
            logger.info("figures for Prometheus are read again", extra={"action": "metrics_back"})
        self._failing = False
        return self._reading(fleet, began)

    def _failed(self, why: str) -> None:
        if not self._failing:
            logger.warning("figures for Prometheus cannot be read: %s", why, extra={"action": "metrics_unread"})
        self._failing = True

    @staticmethod
    def _reading(fleet: Fleet | None, began: float) -> Reading:
        now = time.monotonic()
        return Reading(fleet, now - began, now)


def _families(fleet: Fleet) -> list[Family] | None:
    """All that is told of it; None where that cannot be made: whoever scrapes has other figures in the same answer."""
    try:
        return [
            _filled(metric, metric.samples(fleet))
            for metric in METRICS
            if metric.samples is not None and (fleet.totals is not None or not metric.counted)
        ]
    except Exception:
        logger.exception("figures for Prometheus cannot be told", extra={"action": "metrics_unread"})
        return None


def _family(metric: Metric) -> Family:
    family: Family = _FAMILIES[metric.kind](PREFIX + metric.name, metric.help, labels=metric.labels)
    return family


def _single(metric: Metric, value: float) -> Family:
    family = GaugeMetricFamily(PREFIX + metric.name, metric.help)
    family.add_metric([], value)
    return family


def _filled(metric: Metric, samples: Mapping[Labels, Any]) -> Family:
    family = _family(metric)
    for labels, value in samples.items():
        names = [visible(label) for label in labels]
        if isinstance(value, Distribution) and isinstance(family, HistogramMetricFamily):
            family.add_metric(names, value.buckets, value.sum)
        elif isinstance(family, (CounterMetricFamily, GaugeMetricFamily)):
            family.add_metric(names, float(value))
    return family
