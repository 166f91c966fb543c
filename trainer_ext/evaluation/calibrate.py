"""Calibrating a saved checkpoint on labelled rows."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer_ext.data.preprocessing.pipeline import keep_entry
from trainer_ext.evaluation.scoring import score
from trainer_ext.inference.loading import load_single
from trainer_ext.tasks import Calibration

logger = logging.getLogger(__name__)


def calibrate(
    folder: Path,
    texts: Sequence[Any],
    labels: Sequence[Any],
    what: str,
    batch_size: int,
    bar: bool = True,
    trust_remote_code: bool = False,
) -> Calibration:
    """Fit a calibration on the rows and keep it in the checkpoint's config.

    Args:
        folder: of the checkpoint.
        texts: of the validation rows.
        labels: of these rows, encoded.
        what: temperature, thresholds or both.
        batch_size: rows in one run.
        bar: whether to show a progress bar.
        trust_remote_code: whether code that the checkpoint brings may be run.
    """
    predictor = load_single(folder, batch_size=batch_size, trust_remote_code=trust_remote_code)
    scored = score(predictor, texts, labels, "calibration", bar)
    fitted = predictor.task.fit_calibration(scored["logits"], scored["labels"], what)
    if what != "thresholds" and fitted.temperature == 1:
        logger.warning(
            "calibrate %s: these %d rows do not determine a temperature (are all predicted correctly?); "
            "probabilities stay as they are",
            what,
            len(texts),
        )
    keep_entry(folder, "calibration", fitted.to_dict())
    return fitted
