"""`--head_init ridge`: a regression head that starts where the frozen encoder's best linear model is.

Linear probing, then fine-tuning. Source: Kumar et al., Fine-Tuning can Distort Pretrained Features (arXiv:2202.10054),
section 3.
"""

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm

from trainer_ext.evaluation.baselines import fit_dense_numbers
from trainer_ext.training.unlabelled import labelled_only

if TYPE_CHECKING:
    from trainer_ext.training.trainer import CustomTrainer

logger = logging.getLogger(__name__)

MOST_ROWS = 20_000  # enough for a linear model, and a few minutes of an encoder


def fit_ridge(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit ridge regression on standardised features, its alpha chosen leave-one-out.

    Args:
        features: (N, H).
        targets: (N, T).

    Returns:
        Weights (T, H) and bias (T,), for the features as they are, not for the standardised ones; and alpha.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    ridge = fit_dense_numbers(scaler.transform(features), targets)
    weights = ridge.coef_.reshape(targets.shape[1], -1) / scaler.scale_
    bias = ridge.intercept_ - weights @ scaler.mean_
    return weights, bias, float(ridge.alpha_)


@torch.no_grad()
def start_from_ridge(trainer: "CustomTrainer") -> None:
    """Set the head of the trainer's model from its training rows (at most `MOST_ROWS`), each read once."""
    model = trainer.model.eval()
    rows = labelled_only(trainer.train_dataset).shuffle(seed=trainer.args.seed)
    rows = rows.select(range(min(len(rows), MOST_ROWS)))
    rows = rows.sort("length")  # rows of similar length side by side need little padding
    features, targets = head_inputs(trainer, rows)
    # The model scales what the head gives; undo that, so that the head is fitted to its own outputs.
    mean = np.array(model.config.logit_mean)
    scale = np.array(model.config.logit_scale)
    weights, bias, alpha = fit_ridge(features, (targets - mean) / scale)
    model.head.weight.copy_(torch.tensor(weights))
    model.head.bias.copy_(torch.tensor(bias))
    if trainer.is_world_process_zero():
        logger.info("head_init ridge: fitted on %d rows, alpha %.4g", len(targets), alpha)


@torch.no_grad()
def head_inputs(trainer: "CustomTrainer", rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the head's input (N, H) and the labels (N, T) of each row; each process reads its share of the rows."""
    features, targets, seen = [], [], []
    hook = trainer.model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batches = tqdm(
        trainer.get_eval_dataloader(rows),
        desc="features for the head",
        unit="batch",
        disable=trainer.args.disable_tqdm or not trainer.is_world_process_zero(),
    )
    for batch in batches:
        inputs = trainer._prepare_inputs(batch)
        labels = inputs.pop("labels")
        with trainer.compute_loss_context_manager():
            trainer.model(**inputs)
        # The rows of all processes, without those repeated to give each process as many.
        feature, label = trainer.accelerator.gather_for_metrics((seen.pop(), labels))
        features.append(feature.double().cpu())
        targets.append(label.double().cpu())
    hook.remove()
    return torch.cat(features).numpy(), torch.cat(targets).numpy()
