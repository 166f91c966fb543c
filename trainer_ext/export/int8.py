"""INT8 that passes the gate: the smallest file of the settings that are good, and all that was tried."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer_ext.export import gate
from trainer_ext.export.deltas import Delta, all_deltas
from trainer_ext.export.eval_rows import EvalRows
from trainer_ext.export.quantise import Int8Setting, quantise
from trainer_ext.export.search import (
    EMBEDDINGS,
    quantisable_parts,
    search,
    setting_with,
    smallest_good,
)
from trainer_ext.export.texts import Texts, evenly_spaced
from trainer_ext.inference.loading import load_single
from trainer_ext.inference.onnx_session import is_marked_exact
from trainer_ext.inference.single import SinglePredictor

SAMPLE = 48  # rows on which parts are quantised one by one
LATENCY_TEXTS = 30

logger = logging.getLogger(__name__)


@dataclass
class Int8Choice:
    """The INT8 variant, and what was tried before it was chosen.

    Attributes:
        variant: the smallest good one; of none, the one that keeps most in FP32, marked as not good.
        predictor: answers with its file.
        tried: every setting's variant, in order, with latencies that were measured beside the float ONNX file's.
        deltas: what it changes in each metric, largest loss first.
        logits: of its file on the evaluation rows.
    """

    variant: gate.Variant
    predictor: SinglePredictor
    tried: list[gate.Variant]
    deltas: list[Delta]
    logits: Any


@dataclass
class Int8Gate:
    """All that a setting needs to be tried, and the outputs of those that were.

    Attributes:
        folder: gets `model_quantized.onnx`.
        onnx_path: the float model.
        onnx_predictor: answers with it.
        rows: texts and labels.
        reference: PyTorch's logits on them.
        pytorch: its variant.
        max_metric_drop: points that may be lost.
        texts: without labels; None if there are none.
        threads: of the sessions.
        skip: passes of the quantiser that are left out.
    """

    folder: Path
    onnx_path: Path
    onnx_predictor: SinglePredictor
    rows: EvalRows
    reference: Any
    pytorch: gate.Variant
    max_metric_drop: float
    texts: Texts | None = None
    threads: int = 1
    skip: Collection[str] = ()
    logits: dict[Int8Setting, Any] = field(default_factory=dict)
    reference_on_texts: Any = None

    def choose(self) -> Int8Choice:
        """Search, and leave the chosen file in the folder."""
        parts = quantisable_parts(self.onnx_path)
        sample = evenly_spaced(self.rows.texts, SAMPLE)
        expected = self.onnx_predictor.logits(sample)

        def damage(quantised: frozenset[str]) -> float:
            others = [part for part in parts if part not in quantised]
            predictor = self.load(setting_with(others, parts))
            return gate.mean_square(predictor.task, predictor.logits(sample), expected)

        tried = search(parts, self.attempt, damage)
        chosen = smallest_good(tried)
        # Not the file that was written last.
        predictor = self.load(chosen.setting)
        task = predictor.task
        labels = task.stack_labels(self.rows.labels)
        logits = self.logits[chosen.setting]
        deltas = all_deltas(task, logits, self.reference, labels)
        # Copies: the chosen variant's latency is measured anew, beside PyTorch's.
        variants = [replace(one.variant) for one in tried]
        return Int8Choice(chosen.variant, predictor, variants, deltas, logits)

    def load(self, setting: Int8Setting) -> SinglePredictor:
        """Quantise, and load the result."""
        path = quantise(self.onnx_path, self.folder, setting, self.skip)
        return load_single(self.folder, self.threads, "cpu", file_name=path.name)

    def attempt(self, setting: Int8Setting) -> gate.Variant:
        """Quantise with a setting and judge the result."""
        logger.info("trying %s ...", setting.name)
        predictor = self.load(setting)
        path = self.folder / predictor.session.file_name
        variant, logits = gate.run_variant(
            "int8", path, predictor, self.rows, self.reference, self.max_metric_drop
        )
        self.logits[setting] = logits
        variant.setting = setting.name
        variant.fp32_nodes = sorted(setting.fp32_nodes)
        if not setting.quantise_embeddings:
            variant.fp32_nodes.insert(0, EMBEDDINGS)
        variant.dynamic_int8 = True
        variant.exact_without_vnni = is_marked_exact(path)
        task = predictor.task
        labels = task.stack_labels(self.rows.labels)
        gate.judge_int8(
            variant,
            self.pytorch,
            self.max_metric_drop,
            task.greater_is_better,
            task.metric_unit(labels),
        )
        # What is refused already needs no more evidence.
        if variant.good and self.texts is not None:
            self.judge_on_texts(variant, predictor, self.texts)
        self.add_latency(variant, predictor)
        return variant

    def judge_on_texts(
        self,
        variant: gate.Variant,
        predictor: SinglePredictor,
        texts: Texts,
    ) -> None:
        """Compare with float on texts without labels, and reject what is shown to lose too much there."""
        if self.reference_on_texts is None:
            logger.info("comparing on %d %s ...", len(texts.texts), texts.source)
            self.reference_on_texts = self.onnx_predictor.logits(texts.texts)
        gate.judge_on_texts(
            variant,
            predictor.task,
            predictor.logits(texts.texts),
            self.reference_on_texts,
            texts.source,
            self.max_metric_drop,
        )

    def add_latency(self, variant: gate.Variant, predictor: SinglePredictor) -> None:
        """Fill in p50, measured beside the float model's."""
        predictors = {"float": self.onnx_predictor, variant.name: predictor}
        gate.add_latencies([variant], predictors, evenly_spaced(self.rows.texts, LATENCY_TEXTS))
