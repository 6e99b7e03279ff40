"""Metrics are plain counters on the hot path, turned into Prometheus text only when somebody asks.

Labels are bounded: actor types and methods come from the registry, never from a request; what fits none of them
is counted as `other`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

if TYPE_CHECKING:
    from runtime.gateway.inflight import Inflight
    from runtime.host import Host
    from runtime.workers.pool import WorkerStats

__all__ = ("METRICS", "Metrics", "RouteMetrics")

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

METRICS = {
    "duralite_requests_total": "HTTP requests by actor type, method and status class.",
    "duralite_request_seconds": "Time from the request's head to the end of its answer.",
    "duralite_requests_in_flight": "HTTP requests that have no answer yet.",
    "duralite_guard_refusals_total": "Statements of HTTP calls that the guard refused, by rule.",
    "duralite_actors_open": "Actors whose file is open.",
    "duralite_actor_opens_total": "Actor files opened since the start.",
    "duralite_actor_evictions_total": "Idle actors closed to make room or to rest.",
    "duralite_actor_deletions_total": "Actors deleted, by request or by TTL.",
    "duralite_mailbox_waiting": "Calls that wait in mailboxes or run, over all open actors.",
    "duralite_alarms_armed": "Alarms of the next minutes that wait to fire.",
    "duralite_alarms_total": "Alarms by outcome: fired, failed (will be retried), dead.",
    "duralite_worker_tasks_open": "Tasks of worker processes by lane and state: running, waiting.",
    "duralite_worker_processes": "Worker processes that live, by lane.",
    "duralite_worker_tasks_total": "Tasks of worker processes that ended, by lane and outcome: done, failed.",
    "duralite_runs_total": "Programs run in the sandbox through HTTP and MCP, by outcome.",
}
"""Every metric and what it counts; the reference page is generated from it."""

_STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_RUN_STATUS = re.compile(rb'^\{"status":"([a-z]+)"')
_RUN_STATES = ("ok", "error", "limit", "crash", "protocol", "cancelled", "paused")


class RouteMetrics:
    """Counts of one actor type and method (or of the pages of the service)."""

    __slots__ = ("buckets", "by_class", "method", "seconds", "type")

    def __init__(self, type_name: str, method: str) -> None:
        self.type = type_name
        self.method = method
        self.by_class = [0] * 6
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def observe(self, status: int, seconds: float) -> None:
        """Count one answer. Status 0 is a request whose client went away before the answer."""
        self.by_class[status // 100 or 4] += 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Metrics:
    """All counters of one gateway, as a Prometheus collector."""

    def __init__(self, host: Host, inflight: Inflight) -> None:
        self._host = host
        self._inflight = inflight
        self._routes: dict[tuple[str, str], RouteMetrics] = {}
        self.refusals: dict[str, int] = {}
        self.runs = dict.fromkeys(_RUN_STATES, 0)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def route(self, type_name: str, method: str) -> RouteMetrics:
        """Return the counts of a route; both names must come from a bounded set."""
        key = (type_name, method)
        found = self._routes.get(key)
        if found is None:
            found = self._routes[key] = RouteMetrics(type_name, method)
        return found

    def refused(self, rule: str) -> None:
        """Count a refusal by the guard."""
        self.refusals[rule] = self.refusals.get(rule, 0) + 1

    def ran(self, answer: bytes) -> None:
        """Count a run of user code by the outcome that its answer, as JSON, begins with."""
        found = _RUN_STATUS.match(answer)
        if found is not None and (state := found[1].decode()) in self.runs:
            self.runs[state] += 1

    def text(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families (the interface of a Prometheus collector)."""
        yield from self._collect_requests()
        host = self._host
        live = host.live()
        yield _gauge("duralite_requests_in_flight", len(self._inflight))
        yield _gauge("duralite_actors_open", len(live))
        waiting = 0
        for instance in live:
            stats = instance.stats()
            waiting += stats.waiting + stats.running
        yield _gauge("duralite_mailbox_waiting", waiting)
        yield _gauge("duralite_alarms_armed", host.alarms.pending)
        yield _counter("duralite_actor_opens", host.opened)
        yield _counter("duralite_actor_evictions", host.evicted)
        yield _counter("duralite_actor_deletions", host.deleted)
        alarms = {"fired": host.alarms.fired, "failed": host.alarms.failed, "dead": host.alarms.dead}
        yield _labelled("duralite_alarms", "outcome", alarms)
        yield _labelled("duralite_guard_refusals", "rule", self.refusals)
        yield _labelled("duralite_runs", "outcome", self.runs)
        yield from _workers(host.services["workers"].stats())
        for service in host.services.values():
            if (collect := getattr(service, "collect", None)) is not None:
                yield from collect()

    def _collect_requests(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            "duralite_requests", METRICS["duralite_requests_total"], labels=("type", "method", "status")
        )
        seconds = HistogramMetricFamily(
            "duralite_request_seconds", METRICS["duralite_request_seconds"], labels=("type", "method")
        )
        for (type_name, method), counts in self._routes.items():
            for index, name in enumerate(_STATUS_CLASSES, 1):
                if counts.by_class[index]:
                    total.add_metric((type_name, method, name), counts.by_class[index])
            cumulated: list[tuple[str, float]] = []
            so_far = 0
            for edge, number in zip((*BUCKETS, float("inf")), counts.buckets, strict=True):
                so_far += number
                cumulated.append(("+Inf" if edge == float("inf") else str(edge), so_far))
            seconds.add_metric((type_name, method), cumulated, counts.seconds)
        yield total
        yield seconds


def _workers(lanes: Sequence[WorkerStats]) -> Iterator[Metric]:
    now = GaugeMetricFamily(
        "duralite_worker_tasks_open", METRICS["duralite_worker_tasks_open"], labels=("lane", "state")
    )
    alive = GaugeMetricFamily(
        "duralite_worker_processes", METRICS["duralite_worker_processes"], labels=("lane",)
    )
    ended = CounterMetricFamily(
        "duralite_worker_tasks", METRICS["duralite_worker_tasks_total"], labels=("lane", "outcome")
    )
    for lane in lanes:
        now.add_metric((lane.lane, "running"), lane.running)
        now.add_metric((lane.lane, "waiting"), lane.waiting)
        alive.add_metric((lane.lane,), lane.processes)
        ended.add_metric((lane.lane, "done"), lane.done)
        ended.add_metric((lane.lane, "failed"), lane.failed)
    yield from (now, alive, ended)


def _gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, METRICS[name], value=value)


def _counter(name: str, value: float) -> Metric:
    return CounterMetricFamily(name, METRICS[name + "_total"], value=value)


def _labelled(name: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, METRICS[name + "_total"], labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
