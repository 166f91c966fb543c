"""A head from ridge regression: against scikit-learn on the same features, through `fit`."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from tests.conftest import TINY_ENCODER
from trainer_ext.api import fit
from trainer_ext.data.io.readers import read_rows
from trainer_ext.errors import UserError
from trainer_ext.evaluation.baselines import ALPHAS
from trainer_ext.inference import load_predictor
from trainer_ext.modeling.session import load_checkpoint
from trainer_ext.training.ridge_head import fit_ridge


def test_weights_are_for_the_features_as_they_are():
    generator = np.random.default_rng(1)
    features = generator.normal(3, [0.1, 5, 40], (60, 3))
    targets = features @ generator.normal(size=(3, 2)) + generator.normal(size=(60, 2))
    weights, bias, alpha = fit_ridge(features, targets)
    standardised = (features - features.mean(0)) / features.std(0)
    reference = RidgeCV(alphas=ALPHAS).fit(standardised, targets)
    assert alpha == reference.alpha_
    np.testing.assert_allclose(
        features @ weights.T + bias, reference.predict(standardised), rtol=1e-9
    )


def test_a_constant_feature_and_one_target():
    features = np.column_stack([np.arange(20.0), np.ones(20)])
    weights, bias, _ = fit_ridge(features, features[:, :1] * 2)
    assert weights.shape == (1, 2) and bias.shape == (1,)
    np.testing.assert_allclose(features @ weights.T + bias, features[:, :1] * 2, atol=1.0)


def train(folder, score_file, **flags):
    return fit(
        task="regression",
        train_file=score_file,
        label_columns=["quality", "price"],
        from_scratch="tiny",
        config_overrides=TINY_ENCODER,
        pooling="mean",
        max_length=32,
        report_to="none",
        output_dir=folder,
        **flags,
    )


def test_the_head_starts_at_the_ridge_of_the_encoder(tmp_path, score_file):
    """With a learning rate of 0 it also ends there; the encoder is the one that a plain run starts from."""
    kwargs = {"max_steps": 1, "learning_rate": 0.0}
    ridge = train(tmp_path / "ridge", score_file, head_init="ridge", **kwargs)
    plain = train(tmp_path / "plain", score_file, **kwargs)
    a, b = (load_checkpoint(run.output_dir) for run in (ridge, plain))
    assert all(
        torch.equal(p, q)
        for p, q in zip(a.encoder.parameters(), b.encoder.parameters(), strict=True)
    )
    assert not torch.equal(a.head.weight, b.head.weight)

    rows = list(read_rows(str(score_file)))
    targets = np.array([[float(row.values[name]) for name in ("quality", "price")] for row in rows])
    features = []
    b.head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].numpy()))
    predictor = load_predictor(plain.output_dir)
    for row in rows:
        ids = torch.tensor([predictor.tokenizer.encode(row.values["text"]).ids])
        with torch.no_grad():
            b.eval()(ids)
    features, scale = np.concatenate(features).astype(float), targets.std(axis=0)
    standardised = (features - features.mean(0)) / features.std(0)
    reference = RidgeCV(alphas=ALPHAS).fit(standardised, (targets - targets.mean(0)) / scale)
    expected = reference.predict(standardised) * scale + targets.mean(0)
    got = load_predictor(ridge.output_dir).logits([row.values["text"] for row in rows])
    np.testing.assert_allclose((got - expected) / scale, 0, atol=1e-3)


def test_a_plain_head_starts_at_the_scale_of_the_training_rows(tmp_path, score_file):
    """Not at that of the validation rows."""
    validation = [{"text": "good", "quality": 50.0 + k, "price": -7.0 * k} for k in range(2)]
    run = train(
        tmp_path / "out", score_file, validation_file=validation, max_steps=1, learning_rate=0.0
    )
    config, rows = load_checkpoint(run.output_dir).config, list(read_rows(str(score_file)))
    targets = np.array([[float(row.values[name]) for name in ("quality", "price")] for row in rows])
    np.testing.assert_allclose(config.logit_mean, targets.mean(axis=0))
    np.testing.assert_allclose(config.logit_scale, targets.std(axis=0))


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"streaming": True, "max_steps": 5}, "head_init ridge reads the training rows beforehand"),
        (
            {"task": "single_label", "label_columns": ["quality"]},
            "for the task regression, not single_label",
        ),
    ],
)
def test_where_it_cannot_be_is_refused(tmp_path, score_file, flags, message):
    with pytest.raises(UserError, match=message):
        fit(**{"task": "regression", "label_columns": ["quality"], **flags}, from_scratch="tiny", head_init="ridge",
            train_file=score_file, report_to="none", output_dir=tmp_path)  # fmt: skip
