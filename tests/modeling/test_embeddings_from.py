"""A fresh encoder with another one's tokenizer and word embeddings: as they are, narrower, or refused."""

import re

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.decomposition import PCA
from transformers import BertConfig, BertModel

from tests.conftest import run_ok
from tests.training.test_teacher import check_refused
from trainer_ext import load_predictor
from trainer_ext.modeling.embeddings_from import principal_components, word_embeddings

SOURCE = "encoder.embeddings.word_embeddings.weight"


def flags_of(student: str, sizes: str, source) -> list:
    pooling = "mean" if student == "tiny" else "mean_hidden"
    taken = ["--embeddings_from", source, "--pooling", pooling]
    return ["--from_scratch", student, "--config_overrides", sizes, "--max_steps", "6", *taken]


def test_components_closed_form():
    # On the line (1, 1) about (2, 3): all of the variance in one direction, distances from the mean -r, 0 and r.
    vectors = torch.tensor([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    components, explained = principal_components(vectors, 1)
    root = 2**0.5
    torch.testing.assert_close(components, torch.tensor([[-root], [0.0], [root]]))
    assert explained == pytest.approx(1.0)


def test_components_are_those_of_scikit_learn():
    vectors = torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    components, explained = principal_components(vectors, 3)
    pca = PCA(3).fit(vectors.numpy())
    expected = pca.transform(vectors.numpy())
    np.testing.assert_allclose(components.abs().numpy(), np.abs(expected), rtol=1e-4, atol=1e-5)
    assert explained == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-5)


@pytest.mark.parametrize(
    "student, sizes",
    [
        ("bilstm", "embedding_size=16,hidden_size=16"),
        ("static", "hidden_size=16,num_buckets=64"),
        ("tiny", "hidden_size=16,num_attention_heads=2,intermediate_size=32"),
    ],
)
def test_a_narrower_student_starts_with_components(
    student, sizes, topic_flags, topic_checkpoint, tmp_path
):
    # Frozen, the embeddings that are saved are those that it started with.
    flags = [*topic_flags, *flags_of(student, sizes, topic_checkpoint)]
    done = run_ok("train.py", *flags, "--freeze_embeddings", "true", "--output_dir", tmp_path)
    source = load_file(topic_checkpoint / "model.safetensors")[SOURCE]
    expected, explained = principal_components(torch.from_numpy(source), 16)
    saved = load_file(tmp_path / "model.safetensors")
    (name,) = [
        key
        for key in saved
        if re.fullmatch(r"encoder\.embeddings(\.word_embeddings)?\.weight", key)
    ]
    np.testing.assert_allclose(saved[name], expected.numpy(), rtol=1e-4, atol=1e-6)
    assert f"16 of 32 principal components, {100 * explained:.1f}% of the variance" in done.stderr
    tokenizers = [
        load_predictor(folder).tokenizer.get_vocab() for folder in (tmp_path, topic_checkpoint)
    ]
    assert tokenizers[0] == tokenizers[1]


def test_as_wide_embeddings_are_taken_as_they_are(topic_flags, topic_checkpoint, tmp_path):
    flags = [
        *topic_flags,
        *flags_of("bilstm", "embedding_size=32,hidden_size=16", topic_checkpoint),
    ]
    taught = ["--distill", "soft", "--teacher", topic_checkpoint, "--freeze_embeddings", "true"]
    done = run_ok("train.py", *flags, *taught, "--output_dir", tmp_path)
    source = load_file(topic_checkpoint / "model.safetensors")[SOURCE]
    saved = load_file(tmp_path / "model.safetensors")["encoder.embeddings.weight"]
    np.testing.assert_array_equal(saved, source)
    assert "vectors as they are, 32 wide" in done.stderr


def test_a_plain_encoder_has_embeddings_too(tmp_path):
    encoder = BertModel(
        BertConfig(
            vocab_size=11,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
        )
    )
    encoder.save_pretrained(tmp_path)
    expected = encoder.get_input_embeddings().weight.detach()
    torch.testing.assert_close(word_embeddings(str(tmp_path)), expected)


def test_what_cannot_be_taken_is_refused(topic_flags, topic_checkpoint, tmp_path):
    wide = flags_of("bilstm", "embedding_size=64,hidden_size=16", topic_checkpoint)
    check_refused(
        [*topic_flags, *wide], ["embeddings_from", "32 wide", "64", "embedding_size"], tmp_path
    )
    nowhere = flags_of("bilstm", "embedding_size=16,hidden_size=16", "nowhere")
    check_refused([*topic_flags, *nowhere], ["embeddings_from nowhere cannot be loaded"], tmp_path)
    trained = ["--from_scratch", "none", "--model_name_or_path", topic_checkpoint]
    overrides = ["--config_overrides", "hidden_dropout_prob=0"]
    more = [*trained, *overrides, "--embeddings_from", topic_checkpoint]
    check_refused([*topic_flags, *more], ["embeddings_from", "no effect"], tmp_path)
