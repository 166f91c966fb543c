"""`--head_init ridge`: a regression head that starts where the frozen encoder's best linear model is.

Linear probing, then fine-tuning. Source: Kumar et al., Fine-Tuning can Distort Pretrained Features (arXiv:2202.10054),
section 3.
"""

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import Trainer

ALPHAS = np.logspace(0, 5, 11)
MOST_ROWS = 20_000  # enough for a linear model, and a few minutes of an encoder


def fit_ridge(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (T, H) and bias (T,) of ridge regression on standardised features, and its alpha, chosen leave-one-out.

    Args:
        features: (N, H); weights and bias are for these, not for the standardised ones.
        targets: (N, T).
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    ridge = RidgeCV(alphas=ALPHAS).fit(scaler.transform(features), targets)
    weights = ridge.coef_.reshape(targets.shape[1], -1) / scaler.scale_
    return weights, ridge.intercept_ - weights @ scaler.mean_, float(ridge.alpha_)


@torch.no_grad()
def start_from_ridge(trainer: Trainer) -> None:
    """Set the head of the trainer's model from its training rows (at most `MOST_ROWS`), each read once."""
    model, seed = trainer.model.eval(), trainer.args.seed
    rows = trainer.train_dataset
    rows = (
        rows.shuffle(seed=seed).select(range(min(len(rows), MOST_ROWS))).sort("length")
    )  # little padding
    features, targets = head_inputs(trainer, rows)
    mean, scale = np.array(model.config.logit_mean), np.array(model.config.logit_scale)
    weights, bias, alpha = fit_ridge(features, (targets - mean) / scale)
    model.head.weight.copy_(torch.tensor(weights))
    model.head.bias.copy_(torch.tensor(bias))
    if trainer.is_world_process_zero():
        print(f"head_init ridge: fitted on {len(targets)} rows, alpha {alpha:.4g}")


@torch.no_grad()
def head_inputs(trainer: Trainer, rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """What the head is given for each row, and the row's labels; of several processes each reads its share."""
    features, targets, seen = [], [], []
    watch = trainer.model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    silent = trainer.args.disable_tqdm or not trainer.is_world_process_zero()
    for batch in tqdm(
        trainer.get_eval_dataloader(rows),
        desc="features for the head",
        unit="batch",
        disable=silent,
    ):
        inputs = trainer._prepare_inputs(batch)
        labels = inputs.pop("labels")
        with trainer.compute_loss_context_manager():
            trainer.model(**inputs)
        # Of all processes, without the rows that were repeated to give each as many.
        feature, label = trainer.accelerator.gather_for_metrics((seen.pop(), labels))
        features.append(feature.double().cpu())
        targets.append(label.double().cpu())
    watch.remove()
    return torch.cat(features).numpy(), torch.cat(targets).numpy()
