"""What is said before a training starts."""

import pytest

from trainer_ext.arguments import TrainingArguments
from trainer_ext.training.build import note_late_start


@pytest.mark.parametrize(
    "max_steps, rows, said",
    [
        (25, 400, "starts with epoch 1, step 25, but max_steps is 25"),  # 16 rows a step
        (26, 400, ""),
        (25, 401, "starts with epoch 1, step 26, but max_steps is 25"),
        (-1, 400, ""),
    ],
)
def test_adversarial_training_that_never_starts(tmp_path, capsys, max_steps, rows, said):
    """AWP waits for an epoch; where epochs are known is the first place to tell."""
    flags = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "adversarial": "awp"}
    args = TrainingArguments(output_dir=str(tmp_path), report_to="none", max_steps=max_steps, **flags)
    note_late_start(args, rows)
    assert (said in capsys.readouterr().err) if said else not capsys.readouterr().err
