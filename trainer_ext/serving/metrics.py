"""What a server counts, in Prometheus' format."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from trainer_ext.serving.workers import SHARED_FOLDER

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)
STAGES = ("queue", "tokenization", "inference", "total")


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "trainer_ext_requests",
            "Requests by route, model and status.",
            ("route", "model", "status"),
            registry=self.registry,
        )
        self.texts = Counter(
            "trainer_ext_texts", "Texts answered.", ("model",), registry=self.registry
        )
        self.tokens = Counter(
            "trainer_ext_tokens", "Tokens read.", ("model",), registry=self.registry
        )
        self.batches = Histogram(
            "trainer_ext_batch_texts",
            "Texts run together.",
            ("model",),
            buckets=TEXTS,
            registry=self.registry,
        )
        self.seconds = Histogram(
            "trainer_ext_stage_seconds",
            "Seconds that requests spent in each stage.",
            ("model", "stage"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "trainer_ext_queue_texts",
            "Texts that wait.",
            ("model",),
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.reloads = Counter(
            "trainer_ext_reloads",
            "Reloads of a model by result.",
            ("model", "result"),
            registry=self.registry,
        )

    def batch(self, model: str, texts: int, tokens: int) -> None:
        """Count texts that were run together."""
        self.texts.labels(model).inc(texts)
        self.tokens.labels(model).inc(tokens)
        self.batches.labels(model).observe(texts)

    def request(self, route: str, model: str, status: int) -> None:
        """Count a request."""
        self.requests.labels(route, model, str(status)).inc()

    def stage(self, model: str, stage: str, seconds: float) -> None:
        """Count the seconds of a request in a stage."""
        self.seconds.labels(model, stage).observe(seconds)

    def text(self) -> bytes:
        """Return the numbers of all processes of the server."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
