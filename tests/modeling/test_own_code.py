"""Encoders that are code of their own: trained, saved, trained on and answered with for those who ask for it only."""

import io

import numpy as np
import pytest

from tests.modeling.test_build import TOKENIZER, build
from tests.remote_code import save_own_encoder
from trainer_ext.errors import UserError
from trainer_ext.export.exported import exported_config
from trainer_ext.inference import load_predictor
from trainer_ext.modeling.session import load_checkpoint


@pytest.fixture(params=["own", "bert"])
def encoder(tmp_path, request):
    """Of a type that transformers does not know, and of one that it knows."""
    folder = tmp_path / "encoder"
    trace = save_own_encoder(folder, request.param)
    return folder, trace


def test_with_leave_it_trains_travels_and_answers(encoder, tmp_path):
    folder, trace = encoder
    model = build(model_name_or_path=str(folder), trust_remote_code=True, pooling="mean")
    assert type(model.encoder).__name__ == "OwnModel" and trace.exists()
    saved = tmp_path / "checkpoint"
    model.save_pretrained(saved)
    TOKENIZER.save_pretrained(saved)
    assert {path.name for path in saved.glob("*.py")} == {"configuration_own.py", "modeling_own.py"}
    for path in folder.iterdir():  # the checkpoint stands by itself
        path.unlink()
    weights = model.encoder.table.weight
    for again in (
        load_checkpoint(saved, trust_remote_code=True),
        build(model_name_or_path=str(saved), trust_remote_code=True),
    ):
        assert again.encoder.table.weight.equal(weights)
        assert type(again.encoder).__name__ == "OwnModel"
    logits = load_predictor(saved, trust_remote_code=True).logits(["old news", "a goal"])
    assert logits.shape == (2, 2) and np.isfinite(logits).all()
    assert not hasattr(exported_config(again), "auto_map")


def test_without_leave_nothing_is_run(tmp_path, monkeypatch):
    """Neither the encoder's code nor a checkpoint's, also when somebody, or a pipe, would answer yes."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    folder, saved = tmp_path / "encoder", tmp_path / "checkpoint"
    trace = save_own_encoder(folder)
    with pytest.raises(
        UserError, match="code of its own, which is run only with --trust_remote_code"
    ):
        build(model_name_or_path=str(folder))
    assert not trace.exists()
    build(model_name_or_path=str(folder), trust_remote_code=True).save_pretrained(saved)
    TOKENIZER.save_pretrained(saved)
    trace.unlink()
    for load in (load_checkpoint, load_predictor, lambda path: build(model_name_or_path=str(path))):
        with pytest.raises(
            UserError, match="code of its own, which is run only with --trust_remote_code"
        ):
            load(saved)
    assert not trace.exists()
