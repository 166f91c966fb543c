"""The stages of `--compression`, applied to a trainer's model before it is fine-tuned."""

import logging
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from trainer_ext.arguments.model import ModelArguments
from trainer_ext.compression.fake_quantisation import StepsAnewAfterSaving, fake_quantise
from trainer_ext.compression.layers import keep_layers
from trainer_ext.compression.magnitude import MagnitudePruning, matrices
from trainer_ext.compression.width import importance_of, kept_counts, narrow
from trainer_ext.data.preprocessing.tokenize import TEACHER_ROW
from trainer_ext.errors import UserError
from trainer_ext.modeling.layer_sizes import sizes_of
from trainer_ext.training.trainer import CustomTrainer

MOST_ROWS = 2048  # that heads and neurons are ranked on

logger = logging.getLogger(__name__)


def compress(trainer: CustomTrainer, flags: ModelArguments) -> None:
    """Apply the stages in their order.

    A resumed run ranks anew, on the same rows and weights, so that its checkpoint fits the model.

    Raises:
        UserError: for a stage that the model cannot have.
    """
    # What is trained on without the stage forgets what it learnt by it.
    trainer.model.config.quantisation_aware = False
    for stage in flags.compression or []:
        STAGES[stage](trainer, flags)


def drop_layers(trainer: CustomTrainer, flags: ModelArguments) -> None:
    """Keep `keep_layers` layers."""
    assert flags.keep_layers is not None, "checked with the flags"
    keep_layers(trainer.model, flags.keep_layers)


def cut_width(trainer: CustomTrainer, flags: ModelArguments) -> None:
    """Keep `width` of each layer's heads and neurons, ranked on training rows."""
    assert flags.width is not None, "checked with the flags"
    if trainer.args.world_size > 1:
        raise UserError("compression width ranks heads in one process, but there are several")
    kept_counts(trainer.model.encoder, flags.width)  # before the time it takes to rank

    def loss_of(batch: Any) -> Tensor:
        loss: Tensor = trainer.compute_loss(trainer.model, batch)
        return loss

    importance = importance_of(trainer.model, ranking_batches(trainer), loss_of)
    narrow(trainer.model, importance, flags.width)
    logger.info("width %g: the layers are now %s", flags.width, sizes_of(trainer.model.encoder))


def ranking_batches(trainer: CustomTrainer) -> Iterator[Any]:
    """Yield at most `MOST_ROWS` training rows in batches, the same in every run of a seed."""
    rows = trainer.train_dataset.shuffle(seed=trainer.args.seed)
    rows = rows.select(range(min(len(rows), MOST_ROWS)))
    if TEACHER_ROW in rows.column_names:
        rows = rows.remove_columns(TEACHER_ROW)
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
    fake_quantise(trainer.model)
    trainer.add_callback(StepsAnewAfterSaving())


STAGES = {
    "layers": drop_layers,
    "width": cut_width,
    "l1": prune_weights,
    "qat": train_for_int8,
}
