"""The stages of `--compression`, applied to a trainer's model before it is fine-tuned."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedTokenizerFast

from trainer_ext.arguments.model import ModelArguments
from trainer_ext.compression.l1_report import Unpruned
from trainer_ext.compression.layers import keep_layers
from trainer_ext.compression.magnitude import MagnitudePruning, matrices
from trainer_ext.compression.vocabulary import Item, VocabularyReport, prune_vocabulary
from trainer_ext.compression.width import Importance, importance_of, kept_counts, narrow
from trainer_ext.data.io.open import open_text
from trainer_ext.errors import UserError
from trainer_ext.files import write_json
from trainer_ext.modeling.layer_sizes import sizes_of
from trainer_ext.training.finished import Finished
from trainer_ext.training.job import BuiltModel, Changes
from trainer_ext.training.trainer import CustomTrainer
from trainer_ext.training.unlabelled import labelled_only

MOST_ROWS = 2048  # that heads and neurons are ranked on

logger = logging.getLogger(__name__)


class Compression(Changes):
    """What `--compression` does to a model before it is trained.

    A resumed run chooses anew, on the same rows and weights, so that its checkpoint fits the model.

    Args:
        flags: of the run.
    """

    def __init__(self, flags: ModelArguments):
        self.flags = flags
        self.vocabulary: VocabularyReport | None = None
        self.unpruned: Unpruned | None = None

    def on_model(self, built: BuiltModel) -> BuiltModel:
        """Cut the vocabulary: rows are tokenised with what is left of it."""
        if "vocab" not in (self.flags.compression or ()):
            return built
        splits = {name: texts.items for name, texts in built.texts.items()}
        corpus = lines_of(self.flags.vocab_corpus or (), built)
        model, tokenizer, self.vocabulary = prune_vocabulary(
            built.model,
            cast(PreTrainedTokenizerFast, built.tokenizer),
            splits,
            corpus,
            self.flags.max_vocab_size,
            built.model.config.pipeline["max_length"],
        )
        return built._replace(model=model, tokenizer=tokenizer)

    def on_trainer(self, trainer: CustomTrainer) -> None:
        """Apply the other stages.

        Raises:
            UserError: for a stage that the model cannot have.
        """
        if self.vocabulary and trainer.is_world_process_zero():
            write_vocabulary_report(self.vocabulary, Path(str(trainer.args.output_dir)))
        # What is trained on without the stage forgets what it learnt by it.
        trainer.model.config.quantisation_aware = False
        for stage in self.flags.compression or []:
            if stage == "l1":
                self.unpruned = Unpruned(trainer)
            if stage in STAGES:
                STAGES[stage](trainer, self.flags)

    def on_finished(self, finished: Finished) -> None:
        """Report what pruning by magnitude did."""
        if self.unpruned:
            report = self.unpruned.compare(finished)
            report.write(finished.folder)
            print(f"\n{report.text()}")


def lines_of(files: Iterable[str], built: BuiltModel) -> Iterator[Item]:
    """Yield each line of text files as the model's tokenizer is given it."""
    cleaning = built.texts["train"].cleaning
    for path in files:
        with open_text(path, None) as file:
            for line in file:
                item = built.task.prepare(line.rstrip("\n"))
                yield cleaning(item) if isinstance(item, str) else cleaning.by_word(item)


def write_vocabulary_report(report: VocabularyReport, folder: Path) -> None:
    """Write vocabulary_report.json, and log it."""
    write_json(folder / "vocabulary_report.json", asdict(report))
    logger.info(
        "vocab: %d of %d pieces, %.2f of %.2f million parameters",
        report.pieces_after,
        report.pieces_before,
        report.parameters_after / 1e6,
        report.parameters_before / 1e6,
    )
    for split, coverage in report.coverage.items():
        logger.info(
            "vocab: %.2f%% of the %d texts of %s are read as before, %.2f%% of their tokens are kept",
            100 * coverage.same_texts,
            coverage.texts,
            split,
            100 * coverage.same_tokens,
        )


def drop_layers(trainer: CustomTrainer, flags: ModelArguments) -> None:
    """Keep `keep_layers` layers."""
    assert flags.keep_layers is not None, "checked with the flags"
    keep_layers(trainer.model, flags.keep_layers)


def cut_width(trainer: CustomTrainer, flags: ModelArguments) -> None:
    """Keep some of each layer's heads and neurons, ranked on training rows: a share of them, or what a speed allows."""
    if trainer.args.world_size > 1:
        raise UserError("compression width ranks heads in one process, but there are several")
    if flags.width is None:
        # Here: it exports, and needs packages that training does not.
        from trainer_ext.compression.target import Target, cut_to_target

        target = Target(flags.target_speedup, flags.target_latency_ms)
        cut_to_target(trainer, target, partial(ranked, trainer))
        return
    (width,) = flags.width
    counts = kept_counts(trainer.model.encoder, width)  # before the time it takes to rank
    narrow(trainer.model, ranked(trainer), counts)
    logger.info("width %g: the layers are now %s", width, sizes_of(trainer.model.encoder))


def ranked(trainer: CustomTrainer) -> Importance:
    """Return the importance of the model's heads and neurons on training rows."""

    def loss_of(batch: Any) -> Tensor:
        loss: Tensor = trainer.compute_loss(trainer.model, batch)
        return loss

    return importance_of(trainer.model, ranking_batches(trainer), loss_of)


def ranking_batches(trainer: CustomTrainer) -> Iterator[Any]:
    """Yield at most `MOST_ROWS` training rows in batches, the same in every run of a seed."""
    rows = labelled_only(trainer.train_dataset).shuffle(seed=trainer.args.seed)
    rows = rows.select(range(min(len(rows), MOST_ROWS)))
    for batch in trainer.get_eval_dataloader(rows.sort("length")):
        yield trainer._prepare_inputs(batch)


def prune_weights(trainer: CustomTrainer, flags: ModelArguments) -> None:
    """Prune the smallest weights, and keep them at 0 while the model is trained."""
    kinds = flags.l1_matrices or ["query"]
    matrices(trainer.model, kinds)  # refuses an encoder that it does not know
    is_global = flags.l1_scope == "global"
    # After the callback of the average, whose weights it has to prune, too.
    trainer.add_callback(MagnitudePruning(kinds, flags.l1_sparsity, is_global, flags.l1_ramp))


def train_for_int8(trainer: CustomTrainer, flags: ModelArguments) -> None:
    """Train, and evaluate, with the rounding of the INT8 export."""
    # Here: it rounds with the export's code, which needs onnx.
    from trainer_ext.compression.fake_quantisation import StepsAnewAfterSaving, fake_quantise

    fake_quantise(trainer.model)
    trainer.add_callback(StepsAnewAfterSaving())


# The vocabulary is cut before there is a trainer.
STAGES = {
    "layers": drop_layers,
    "width": cut_width,
    "l1": prune_weights,
    "qat": train_for_int8,
}
