"""Latency of several variants, measured side by side: each text goes through all of them before the next one."""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from trainer_ext.inference import Predictor

WARM_UP = 5


def latencies_ms(
    predictors: Mapping[str, Predictor], batches: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """Milliseconds per batch (tokenising included), by variant; the order of the variants turns with each batch."""
    names = list(predictors)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn, texts in enumerate([*batches[:WARM_UP], *batches]):
        for k in range(len(names)):
            name = names[(turn + k) % len(names)]
            start = time.perf_counter()
            predictors[name].logits(texts)
            if turn >= min(WARM_UP, len(batches)):
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def latency_table(predictors: Mapping[str, Predictor], texts: Sequence[str]) -> list[dict]:
    """For `--benchmark`: p50 and p95 per batch and texts a second, for batches of 1, 8 and 32."""
    rows = []
    for size in (1, 8, 32):
        batches = [texts[k : k + size] for k in range(0, min(len(texts), 40 * size), size)]
        for predictor in predictors.values():
            predictor.batch_size = size
        for name, times in latencies_ms(predictors, batches).items():
            p50, p95 = np.percentile(times, [50, 95])
            rows.append(
                {
                    "variant": name,
                    "batch_size": size,
                    "ms_p50": round(float(p50), 3),
                    "ms_p95": round(float(p95), 3),
                    "texts_per_second": round(1000 * size / float(p50), 1),
                }
            )
    return rows
