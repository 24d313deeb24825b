"""What Prometheus is told: put into words only when it asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from alloysort_inference.doors.service import Service
from alloysort_inference.doors.tally import STAGES

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class ServiceCollector(Collector):
    """A service in Prometheus' words."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """Everything, as it stands."""
        yield from self._counters()
        yield from self._gauges()
        latency = HistogramMetricFamily(
            "alloysort_latency_seconds", "of each step of a piece", labels=["stage"]
        )
        for stage in STAGES:
            buckets, total_s = self._service.tally.histogram(stage)
            latency.add_metric([stage], buckets, total_s)
        yield latency

    def _counters(self) -> Iterable[CounterMetricFamily]:
        tally, intake = self._service.tally, self._service.intake
        for name, help_text, label, counts in (
            ("alloysort_pieces", "answered pieces", "status", tally.status),
            ("alloysort_outlet", "pieces sent to each outlet", "outlet", tally.outlets),
            ("alloysort_quality", "pieces with a flag", "flag", tally.quality),
            ("alloysort_batches", "runs of the engine by size", "size", self._service.batcher.counts.batches),
        ):
            family = CounterMetricFamily(name, help_text, labels=[label])
            for key, count in sorted(counts.items(), key=str):
                family.add_metric([str(key)], count)
            yield family
        for name, help_text, count in (
            ("alloysort_novel", "pieces unlike anything trained on", tally.novel),
            ("alloysort_accepted", "pieces whose family is to be trusted", tally.accepted),
            ("alloysort_turned_away", "pieces and requests that found no room", intake.counts.full),
            ("alloysort_log_lost", "records that the log has lost", self._log_lost()),
        ):
            yield CounterMetricFamily(name, help_text, count)

    def _gauges(self) -> Iterable[GaugeMetricFamily]:
        service = self._service
        for name, help_text, value in (
            ("alloysort_queue_pieces", "waiting to be prepared", len(service.intake)),
            ("alloysort_ready_pieces", "prepared and waiting for the engine", len(service.batcher)),
            ("alloysort_loop_lag_seconds", "how late the loop last woke", service.tally.lag_s),
            ("alloysort_log_failing", "1 while the log cannot be written", float(self._log_fails())),
        ):
            yield GaugeMetricFamily(name, help_text, value)
        classifier = service.classifier
        info = GaugeMetricFamily(
            "alloysort_info",
            "what decides",
            labels=["bundle", "bundle_sha256", "recipe", "recipe_sha256", "provider"],
        )
        bundle, recipe = classifier.bundle, classifier.recipe_origin
        labels = [bundle.name, bundle.sha256, recipe.name, recipe.sha256, classifier.engine.providers[0]]
        info.add_metric(labels, 1)
        yield info

    def _log_lost(self) -> int:
        return 0 if self._service.log is None else self._service.log.lost

    def _log_fails(self) -> bool:
        return self._service.log is not None and self._service.log.fault is not None


def exposition(service: Service) -> bytes:
    """What `/metrics` says."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(service))
    return generate_latest(registry)
