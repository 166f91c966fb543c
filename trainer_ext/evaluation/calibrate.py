"""Calibrating a saved checkpoint on labelled rows."""

import sys
from collections.abc import Sequence
from pathlib import Path

from trainer_ext.evaluation.scoring import score
from trainer_ext.files import read_json, write_json
from trainer_ext.inference.loading import load_single
from trainer_ext.tasks import Calibration


def calibrate(
    folder: Path,
    texts: Sequence[str],
    labels: Sequence,
    what: str,
    batch_size: int,
    bar: bool = True,
    trust_remote_code: bool = False,
) -> Calibration:
    """Fit `what` (temperature, thresholds or both) on the rows and keep it in the checkpoint's config."""
    predictor = load_single(folder, batch_size=batch_size, trust_remote_code=trust_remote_code)
    scored = score(predictor, texts, labels, "calibration", bar)
    fitted = predictor.task.fit_calibration(scored["logits"], scored["labels"], what)
    if what != "thresholds" and fitted.temperature == 1:
        print(
            f"note: calibrate {what}: these {len(texts)} rows do not determine a temperature (all predicted right?); "
            "probabilities stay as they are",
            file=sys.stderr,
        )
    config = read_json(folder / "config.json")
    config["pipeline"]["calibration"] = fitted.to_dict()
    write_json(folder / "config.json", config)
    return fitted
