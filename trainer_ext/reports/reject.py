"""The picture of a model that may say "I do not know"."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainer_ext.figures import picture, plt, save

BINS = 40


@picture
def draw_rejection(
    score: str,
    threshold: float,
    validation: np.ndarray,
    ood: np.ndarray | None,
    risks: Mapping[str, np.ndarray],
    path: Path,
) -> None:
    """Draw the scores of the rows with the threshold on the left, risk over coverage of every score on the right.

    Args:
        score: the one that was chosen.
        threshold: above which a text is rejected.
        validation: scores (N,) of the validation rows.
        ood: scores (M,) of texts of another domain; None without any.
        risks: by score the share of wrong answers (N,) among the 1, 2, ... N rows that are least strange by it.
        path: of the PNG.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    rows = {"validation rows": validation}
    if ood is not None:
        rows["another domain"] = ood
    edges = np.histogram_bin_edges(np.concatenate(list(rows.values())), bins=BINS)
    for name, scores in rows.items():
        # As shares: there may be ten times as many of one kind.
        weights = np.full(len(scores), 1 / len(scores))
        left.hist(scores, edges, weights=weights, alpha=0.6, label=f"{name} ({len(scores)})")
    left.axvline(
        threshold, color="tab:red", linestyle="--", label=f"rejected above {threshold:.3g}"
    )
    left.set_xlabel(f"{score.replace('_', ' ')} score: more is stranger")
    left.set_ylabel("share of rows")
    left.legend(fontsize=8)
    for name, values in risks.items():
        coverage = np.arange(1, len(values) + 1) / len(values)
        width = 2 if name == score else 1
        right.plot(coverage, values, label=name.replace("_", " "), linewidth=width)
    answered = float((validation <= threshold).mean())
    right.axvline(answered, color="tab:red", linestyle="--", label=f"answered: {answered:.1%}")
    right.set_xlabel("coverage: share of validation rows answered")
    right.set_ylabel("risk: share of wrong answers")
    right.legend(fontsize=8)
    figure.tight_layout()
    save(figure, path)
