"""Measure training samples per second, side by side in one process: `python benchmarks/training_speed.py`.

CustomTrainer with plain cross entropy is compared with the stock Trainer, and R-Drop (one forward of the doubled batch)
with plain cross entropy. The three take turns, in an order that rotates each round. A ratio is the median over rounds.
"""

import argparse
import logging
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import transformers
from datasets import Dataset, disable_progress_bars
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, PrinterCallback, Trainer
from transformers.modeling_outputs import SequenceClassifierOutput

from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.preprocessing.tokenize import Collator, tokenize
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.scratch import scratch_config, train_tokenizer
from trainer_ext.objectives.base import Objective
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.rdrop import RDropTerm
from trainer_ext.tables import table
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.training.trainer import CustomTrainer

REVIEWS = Path(__file__).resolve().parent.parent / "data/reviews/train.csv"
POLARITIES = ("-2", "-1", "0", "1")
ASPECT = "dish_taste"
OBJECTIVES = {
    "plain": Objective(((1.0, CrossEntropyTerm()),)),
    "rdrop": Objective(((1.0, CrossEntropyTerm()), (1.0, RDropTerm()))),
}
VARIANTS = ("stock", *OBJECTIVES)
# A variant, what it is compared with, and the least ratio that is aimed at.
RATIOS = (("plain", "stock", 0.97), ("rdrop", "plain", 0.48))


class WithLoss(EncoderWithHead):
    """The model as the stock Trainer needs it: it computes its loss."""

    def forward(self, input_ids, attention_mask=None, labels=None):
        """Return loss and logits."""
        logits = super().forward(input_ids, attention_mask).logits
        return SequenceClassifierOutput(loss=F.cross_entropy(logits, labels), logits=logits)


@dataclass(frozen=True)
class Setup:
    """What all trainings share."""

    data: Dataset
    tokenizer: PreTrainedTokenizerBase
    config: EncoderWithHeadConfig
    steps: int


def build_setup(steps: int) -> Setup:
    """Tokenise the sample reviews, and configure a small encoder for one of their aspects."""
    rows = [row.values for row in read_rows(str(REVIEWS))]
    texts = [row["reviewbody"] for row in rows]
    labels = [POLARITIES.index(row[ASPECT]) for row in rows]
    tokenizer = train_tokenizer(texts, 8000, 128)
    data = tokenize(Dataset.from_dict({"text": texts, "labels": labels}), tokenizer, 128, None)
    encoder = scratch_config("tiny", None, tokenizer, 128)
    config = EncoderWithHeadConfig(encoder, [len(POLARITIES)], pooling="mean")
    return Setup(data, tokenizer, config, steps)


def samples_per_second(variant: str, setup: Setup) -> float:
    """Train one variant for a few steps, from the same weights and on the same batches as the others."""
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            max_steps=setup.steps,
            per_device_train_batch_size=32,
            learning_rate=1e-4,
            seed=1,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = build_trainer(variant, setup, args)
        trainer.remove_callback(PrinterCallback)
        return trainer.train().metrics["train_samples_per_second"]


def build_trainer(variant: str, setup: Setup, args: TrainingArguments) -> Trainer:
    """Build the trainer of a variant."""
    common = {
        "args": args,
        "train_dataset": setup.data,
        "data_collator": Collator(setup.tokenizer),
    }
    if variant == "stock":
        return Trainer(model=WithLoss(setup.config), **common)
    task = TASKS["single_label"](LabelSpace((ASPECT,), POLARITIES, POLARITIES))
    model = EncoderWithHead(setup.config)
    return CustomTrainer(model=model, objective=OBJECTIVES[variant], task=task, **common)


def measure_rounds(setup: Setup, rounds: int) -> dict[str, list[float]]:
    """Return the samples per second of each variant in each round."""
    speeds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for turn in range(rounds + 1):
        for k in range(len(VARIANTS)):
            variant = VARIANTS[(turn + k) % len(VARIANTS)]
            speed = samples_per_second(variant, setup)
            # The first round warms up.
            if turn > 0:
                speeds[variant].append(speed)
    return speeds


def main() -> None:
    """Print samples per second and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    disable_progress_bars()
    speeds = measure_rounds(build_setup(args.steps), args.rounds)
    rows = [[name, f"{statistics.median(values):.1f}"] for name, values in speeds.items()]
    print(table(rows, ["variant", "samples/s (median)"]))
    for name, base, target in RATIOS:
        pairs = zip(speeds[name], speeds[base], strict=True)
        ratios = sorted(speed / base_speed for speed, base_speed in pairs)
        print(
            f"{name} / {base}: {statistics.median(ratios):.3f}  "
            f"(rounds {ratios[0]:.3f} to {ratios[-1]:.3f}; target: at least {target})"
        )


if __name__ == "__main__":
    main()
