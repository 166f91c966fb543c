"""Flags about layers that a student does not have are refused before data is read."""

from types import SimpleNamespace

import pytest

from trainer_ext.arguments.model import ModelArguments
from trainer_ext.arguments.students import check_student
from trainer_ext.errors import UserError

OFF = {"gradient_checkpointing": False, "layer_wise_lr_decay": 1.0, "parameter_groups": None}


def check(student: str, flags: dict) -> None:
    training = OFF | {name: value for name, value in flags.items() if name in OFF}
    of_model = {name: value for name, value in flags.items() if name not in OFF}
    model = ModelArguments(from_scratch=student, **of_model)
    check_student(model, SimpleNamespace(**training))


@pytest.mark.parametrize(
    "student, flags, message",
    [
        ("bilstm", {"pooling": "concat_last4"}, "pooling concat_last4 is for transformers"),
        ("static", {"pooling": "weighted_layers"}, "pooling weighted_layers is for transformers"),
        ("bilstm", {"gradient_checkpointing": True}, "gradient_checkpointing is for transformers"),
        ("bilstm", {"freeze_layers": 2}, "freeze_layers 2: from_scratch bilstm has 1 layers"),
        ("static", {"freeze_layers": 1}, "freeze_layers 1: from_scratch static has 0 layers"),
        ("static", {"layer_wise_lr_decay": 0.9}, "layer_wise_lr_decay 0.9 has no effect"),
        ("bilstm", {"parameter_groups": ["layers.0-1=1e-3", "layers.2-=1e-3"]}, "layers.2-=1e-3"),
        ("static", {"parameter_groups": ["layers.0-=1e-3"]}, "layers.0-=1e-3 has no effect"),
    ],
)
def test_refused(student, flags, message):
    with pytest.raises(UserError, match=message):
        check(student, flags)
    check("tiny", flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"layer_wise_lr_decay": 0.9, "freeze_layers": 1, "pooling": "max"},
        {"parameter_groups": ["embeddings=1e-2", "layers.0-=1e-3", "head=1e-3"]},
    ],
)
def test_what_a_bilstm_has(flags):
    check("bilstm", flags)
