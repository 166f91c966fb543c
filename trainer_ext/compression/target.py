"""Heads and neurons of each layer for a speed that is named: a table of times, a choice, and the proof of it."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer_ext.compression.budget import Part, choose, fastest_ms, lost_importance
from trainer_ext.compression.latency_table import (
    LatencyTable,
    least_counts,
    measure_table,
    p50_ms,
)
from trainer_ext.compression.width import Counts, Importance, counts_of, narrow
from trainer_ext.errors import UserError
from trainer_ext.export.report import library_versions
from trainer_ext.files import read_json, write_json
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.training.trainer import CustomTrainer

TABLE_FILE = "latency_table.json"
MEASURED = (
    "ms: the median of one text of `length` tokens, without tokenising, of the INT8 file in ONNX Runtime on one "
    "thread; heads and neurons: what this many add to a layer beyond the smallest number"
)
NEURON_STEPS = 16  # what feed-forward neurons are cut by: a 16th of a layer's
TRIES = 4
CLOSE = 0.97  # of the time that is allowed: near enough
AIM = 0.985  # of it: in the middle of what is near enough

# Measures models of other sizes, by name; see `p50_ms`.
Measure = Callable[[EncoderWithHead, dict[str, Counts], int], dict[str, float]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """The speed that is asked for; one of the two.

    Attributes:
        speedup: how many times as fast as the model is now.
        latency_ms: the time of one text.
    """

    speedup: float | None = None
    latency_ms: float | None = None

    def ms(self, start_ms: float) -> float:
        """Return the time that the model may take, of which a text takes `start_ms` now."""
        if self.speedup is not None:
            return start_ms / self.speedup
        assert self.latency_ms is not None, "one of the two"
        return self.latency_ms

    def __str__(self) -> str:
        if self.speedup is not None:
            return f"target_speedup {self.speedup:g}"
        return f"target_latency_ms {self.latency_ms:g}"


@dataclass(frozen=True)
class Choice:
    """The sizes that were chosen, and how fast they are.

    Attributes:
        counts: heads and neurons of each layer.
        predicted_ms: by the table.
        start_ms: of the model before, measured in turns with `measured_ms`.
        measured_ms: of a model of these sizes.
    """

    counts: Counts
    predicted_ms: float
    start_ms: float
    measured_ms: float

    @property
    def speedup(self) -> float:
        """Return how many times as fast it is."""
        return self.start_ms / self.measured_ms


def cut_to_target(
    trainer: CustomTrainer,
    target: Target,
    rank: Callable[[], Importance],
) -> None:
    """Keep the heads and neurons with which the trainer's model is as fast as the target says.

    Times and choice are kept in the output folder: a resumed run has the same sizes.

    Args:
        trainer: whose training rows give the length of the text.
        target: to be met.
        rank: returns the importance of the model's heads and neurons.

    Raises:
        UserError: for a target that cannot be reached.
    """
    choice = kept_choice(trainer, target)
    if choice is None:
        start = counts_of(trainer.model)
        length = round(np.median(trainer.train_dataset["length"]))
        logger.info("%s: measuring texts of %d tokens ...", target, length)
        table = measure_table(trainer.model, length)
        # Before the time it takes to rank.
        check_reachable(table, start, target)
        importance = rank()
        choice = choose_counts(trainer.model, importance, table, target)
        write_record(trainer.output_dir, table, target, choice)
    else:
        importance = rank()
    narrow(trainer.model, importance, choice.counts)
    log_choice(target, choice)


def kept_choice(trainer: CustomTrainer, target: Target) -> Choice | None:
    """Return the choice of the run that is resumed; None for a new run.

    Raises:
        UserError: if it was made for another target, or a checkpoint of another folder has none.
    """
    resume = str(trainer.args.resume_from_checkpoint or "false")
    if resume.lower() == "false":
        return None
    if resume.lower() == "true":
        return read_choice(trainer.output_dir, target)
    folder = Path(resume).parent
    choice = read_choice(folder, target)
    if choice is None:
        raise UserError(
            f"resume_from_checkpoint {resume}: there is no {TABLE_FILE} in {folder}, which says how many heads and "
            "neurons each layer kept"
        )
    return choice


def check_reachable(table: LatencyTable, start: Counts, target: Target) -> None:
    """Refuse a target that the smallest model misses, and one that the model meets as it is.

    Raises:
        UserError: with the times of both.
    """
    goal = target.ms(table.start_ms)
    text = f"a text of {table.length} tokens"
    how = "INT8 in ONNX Runtime on one thread"
    if goal >= table.start_ms:
        raise UserError(
            f"{target}: {text} takes {table.start_ms:.3g} ms as it is ({how}), so there is nothing to cut"
        )
    if goal < table.least_ms:
        heads, neurons = least_counts(start)
        raise UserError(
            f"{target} cannot be reached: with {heads} heads and {neurons} neurons in each layer {text} takes "
            f"{table.least_ms:.3g} ms instead of {table.start_ms:.3g} ms ({how}), which is "
            f"{table.start_ms / table.least_ms:.2g} times as fast; fewer layers are faster still (--keep_layers)"
        )


def choose_counts(
    model: EncoderWithHead,
    importance: Importance,
    table: LatencyTable,
    target: Target,
    measure: Measure = p50_ms,
) -> Choice:
    """Choose the sizes that lose the least importance and meet the target, and measure a model of these sizes.

    The table adds up parts, and a model may be somewhat faster or slower than their sum: the budget is then corrected,
    and the sizes chosen anew.

    Args:
        model: that is to be cut.
        importance: of its heads and neurons.
        table: of its times.
        target: within its reach.
        measure: returns the times of models of other sizes.

    Returns:
        Of the choices that were tried the slowest that meets the target, or the fastest if none does.
    """
    start = counts_of(model)
    budget = target.ms(table.start_ms)
    tried: dict[float, Choice] = {}
    for _ in range(TRIES):
        counts = counts_within(budget, table, importance, start)
        ms = measure(model, {"start": start, "cut": counts}, table.length)
        choice = Choice(counts, table.predict(start, counts), ms["start"], ms["cut"])
        share = ms["cut"] / target.ms(ms["start"])
        # A share above 1 is too slow.
        tried[share] = choice
        if CLOSE <= share <= 1:
            break
        # The sum of the parts was too high or too low by this factor.
        budget *= AIM / share
    good = [share for share in tried if share <= 1]
    return tried[max(good)] if good else tried[min(tried)]


def counts_within(
    budget_ms: float,
    table: LatencyTable,
    importance: Importance,
    start: Counts,
) -> Counts:
    """Return the sizes that lose the least importance and take at most so long, or the smallest if none do.

    Args:
        budget_ms: of the whole model.
        table: of its times.
        importance: of heads and neurons.
        start: sizes of the model as it is.
    """
    parts = []
    for number, times in enumerate(table.of_layers(len(start))):
        heads, neurons = start[number]
        sizes = list(range(1, heads + 1))
        lost = lost_importance(importance.heads[number], sizes)
        parts.append(Part(sizes, times.of_heads(sizes), lost))
        sizes = neuron_sizes(neurons)
        lost = lost_importance(importance.neurons[number], sizes)
        parts.append(Part(sizes, times.of_neurons(sizes), lost))
    # Embeddings, pooling and heads, which no choice changes.
    constant = table.start_ms - table.parts_ms(start)
    chosen = choose(parts, max(budget_ms - constant, fastest_ms(parts)))
    return list(zip(chosen[::2], chosen[1::2], strict=True))


def neuron_sizes(neurons: int) -> list[int]:
    """Return the numbers of neurons that a layer may keep, ascending."""
    shares = [max(1, round(step * neurons / NEURON_STEPS)) for step in range(1, NEURON_STEPS + 1)]
    return sorted(set(shares))


def write_record(folder: Path, table: LatencyTable, target: Target, choice: Choice) -> None:
    """Write latency_table.json."""
    record: dict[str, Any] = {"measured": MEASURED, **asdict(table)}
    record["instruction_set"] = instruction_set()
    record["versions"] = library_versions()
    record["target"] = str(target)
    sizes = [{"heads": heads, "inner": neurons} for heads, neurons in choice.counts]
    record["layer_sizes"] = sizes  # as in config.json
    record["choice"] = {
        "predicted_ms": choice.predicted_ms,
        "start_ms": choice.start_ms,
        "measured_ms": choice.measured_ms,
        "speedup": choice.speedup,
    }
    write_json(folder / TABLE_FILE, record)


def read_choice(folder: Path, target: Target) -> Choice | None:
    """Return the choice in the latency_table.json of a folder, so that a checkpoint beside it fits; None without one.

    Raises:
        UserError: if it was made for another target.
    """
    path = folder / TABLE_FILE
    if not path.is_file():
        return None
    record = read_json(path)
    if record["target"] != str(target):
        raise UserError(f"{path} is of {record['target']}, but now it is {target}")
    counts = [(size["heads"], size["inner"]) for size in record["layer_sizes"]]
    found = record["choice"]
    return Choice(counts, found["predicted_ms"], found["start_ms"], found["measured_ms"])


def log_choice(target: Target, choice: Choice) -> None:
    """Log what was chosen and how fast it is."""
    goal = target.ms(choice.start_ms)
    # Measured, not predicted.
    verdict = "met" if choice.measured_ms <= goal else "MISSED"
    logger.info(
        "%s %s: a text took %.3g ms and takes %.3g ms, %.2f times as fast (predicted %.3g ms; INT8 in ONNX Runtime on "
        "one thread); heads and neurons of each layer: %s",
        target,
        verdict,
        choice.start_ms,
        choice.measured_ms,
        choice.speedup,
        choice.predicted_ms,
        ", ".join(f"{heads}/{neurons}" for heads, neurons in choice.counts),
    )
