"""Training samples per second, side by side in one process: `python benchmarks/training_speed.py`.

CustomTrainer with plain cross entropy against the stock Trainer, and R-Drop (one forward of the doubled batch) against
plain. The three take turns, in an order that turns with each round; the ratio is the median over rounds.
"""

import argparse
import logging
import statistics
import tempfile
from pathlib import Path

import transformers
from datasets import Dataset, disable_progress_bars
from torch.nn import functional as F
from transformers import PrinterCallback, Trainer
from transformers.modeling_outputs import SequenceClassifierOutput

from trainer_ext.arguments.training import TrainingArguments
from trainer_ext.data.io.readers import read_rows
from trainer_ext.data.preprocessing.tokenize import Collator, tokenize
from trainer_ext.modeling import EncoderWithHead, EncoderWithHeadConfig
from trainer_ext.modeling.scratch import scratch_config, train_tokenizer
from trainer_ext.objectives.base import Objective
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.rdrop import RDropTerm
from trainer_ext.reports.tables import table
from trainer_ext.tasks import TASKS, LabelSpace
from trainer_ext.training.trainer import CustomTrainer

REVIEWS = Path(__file__).resolve().parent.parent / "data/reviews/train.csv"
POLARITIES = ("-2", "-1", "0", "1")
PLAIN = Objective(((1.0, CrossEntropyTerm()),))
RDROP = Objective(((1.0, CrossEntropyTerm()), (1.0, RDropTerm())))


class WithLoss(EncoderWithHead):
    """The model as the stock Trainer wants it: with the loss inside."""

    def forward(self, input_ids, attention_mask=None, labels=None):
        """Loss and logits."""
        logits = super().forward(input_ids, attention_mask).logits
        return SequenceClassifierOutput(loss=F.cross_entropy(logits, labels), logits=logits)


def samples_per_second(variant: str, data: Dataset, tokenizer, config, steps: int) -> float:
    """One short training of one variant from the same weights and on the same batches."""
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=32, learning_rate=1e-4, seed=1,
            save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        common = {"args": args, "train_dataset": data, "data_collator": Collator(tokenizer)}
        if variant == "stock":
            trainer = Trainer(model=WithLoss(config), **common)
        else:
            task = TASKS["single_label"](LabelSpace(("dish_taste",), POLARITIES, POLARITIES))
            objective = RDROP if variant == "rdrop" else PLAIN
            trainer = CustomTrainer(
                model=EncoderWithHead(config), objective=objective, task=task, **common
            )
        trainer.remove_callback(PrinterCallback)
        return trainer.train().metrics["train_samples_per_second"]


def main() -> None:
    """Print samples per second and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    disable_progress_bars()
    rows = [row.values for row in read_rows(str(REVIEWS))]
    texts = [row["reviewbody"] for row in rows]
    tokenizer = train_tokenizer(texts, 8000, 128)
    labels = [POLARITIES.index(row["dish_taste"]) for row in rows]
    data = tokenize(Dataset.from_dict({"text": texts, "labels": labels}), tokenizer, 128, None)
    config = EncoderWithHeadConfig(
        scratch_config("tiny", None, tokenizer, 128), [len(POLARITIES)], pooling="mean"
    )
    variants, speeds = ["stock", "plain", "rdrop"], {"stock": [], "plain": [], "rdrop": []}
    for turn in range(args.rounds + 1):
        for k in range(len(variants)):
            variant = variants[(turn + k) % len(variants)]
            speed = samples_per_second(variant, data, tokenizer, config, args.steps)
            if turn:  # the first round warms up
                speeds[variant].append(speed)
    median = {name: statistics.median(values) for name, values in speeds.items()}
    print(
        table(
            [[name, f"{median[name]:.1f}"] for name in variants], ["variant", "samples/s (median)"]
        )
    )
    for name, base, aim in (("plain", "stock", 0.97), ("rdrop", "plain", 0.48)):
        ratios = sorted(a / b for a, b in zip(speeds[name], speeds[base], strict=True))
        print(
            f"{name} / {base}: {statistics.median(ratios):.3f}  (rounds {ratios[0]:.3f} to {ratios[-1]:.3f}; "
            f"at least {aim} wanted)"
        )


if __name__ == "__main__":
    main()
