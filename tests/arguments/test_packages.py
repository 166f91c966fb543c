"""What needs a package that is not there is one line, before any row is read."""

import pytest

from trainer_ext.arguments.packages import check_packages
from trainer_ext.arguments.parser import parse_values
from trainer_ext.compatibility import TRANSFORMERS_5
from trainer_ext.cross_validation.dispatch import run
from trainer_ext.errors import UserError

GONE_IN_5 = () if TRANSFORMERS_5 else ("adamw_apex_fused",)

MISSING = [
    *(
        (f"optim {name}", {"optim": name})
        for name in ("adamw_bnb_8bit", "lion_32bit", "lomo", "adamw_torch_8bit")
    ),
    *(
        (f"optim {name}", {"optim": name})
        for name in ("schedule_free_adamw", "grokadamw", *GONE_IN_5)
    ),
    ("optim galore_adamw", {"optim": "galore_adamw", "optim_target_modules": "all-linear"}),
    *(
        (f"report_to {name}", {"report_to": name})
        for name in ("mlflow", "comet_ml", "clearml", "flyte", "neptune")
    ),
    ("report_to wandbb is not a tracker", {"report_to": "wandbb"}),
    ("use_liger_kernel true", {"use_liger_kernel": True}),
    (
        "torch_compile_backend nope is unknown; there are .*inductor",
        {"torch_compile_backend": "nope"},
    ),
    ("optim_args beta1 is not understood at 'beta1'", {"optim_args": "beta1"}),
]


def arguments(tmp_path, **flags):
    """Of a training whose rows are no rows."""
    file = tmp_path / "rows.csv"
    file.write_text("not a header that anything could be read from\n")
    recipe = {
        "from_scratch": "tiny",
        "train_file": str(file),
        "output_dir": str(tmp_path / "out"),
        "report_to": "none",
    }
    return parse_values(recipe, flags)


@pytest.mark.parametrize(("expected", "flags"), MISSING)
def test_it_is_refused_before_rows_are_read(tmp_path, expected, flags):
    for more in ({}, {"folds": 2, "eval_strategy": "epoch"}):
        with pytest.raises(UserError, match=expected) as caught:
            run(arguments(tmp_path, **flags, **more))
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_deepspeed_without_its_package(tmp_path):
    (tmp_path / "ds.json").write_text("{}")
    with pytest.raises(UserError, match="deepspeed"):
        arguments(tmp_path, deepspeed=str(tmp_path / "ds.json"))


@pytest.mark.parametrize(
    "name", ["adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "rmsprop", "adagrad"]
)
def test_what_is_there_is_taken(tmp_path, name):
    check_packages(arguments(tmp_path, optim=name, report_to="wandb").training)
