"""Which names hold secrets, and command lines that may be shown."""

import pytest

from trainer_ext.redaction import in_environment, is_secret, without_secrets

SECRET = [
    "hub_token",
    "--hub-token",
    "WANDB_API_KEY",
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "api_key",
]
SECRET += [
    "MLFLOW_TRACKING_PASSWORD",
    "apikey",
    "token",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "client_secret",
]
PLAIN = [
    "max_tokens",
    "TOKENIZERS_PARALLELISM",
    "include_num_input_tokens_seen",
    "hub_model_id",
    "text_column",
    "monkey",
]


@pytest.mark.parametrize(
    ("name", "expected"), [(n, True) for n in SECRET] + [(n, False) for n in PLAIN]
)
def test_names(name, expected):
    assert is_secret(name) is expected


def test_command_lines():
    """Every way to write a flag; the same value elsewhere; short values only where they stand alone."""
    variables = {"HF_TOKEN": "from-the-environment", "X_KEY": "short", "NAME": "not-a-secret"}
    shown = without_secrets(
        [
            *(
                "train.py",
                "--hub_token",
                "hf_secret99",
                "--api-key=k=k",
                "--max_steps",
                "4",
                "--run_name=hf_secret99-x",
            ),
            *(
                "--out",
                "a/from-the-environment/b",
                "--hub_token",
                "--fp16",
                "--name",
                "not-a-secret",
                "--x",
                "x",
            ),
            *("--push_to_hub_token", "x", "--url", "https://me:pw@host/x", "me@host", "-token"),
        ],
        variables,
    )
    assert shown == [
        *(
            "train.py",
            "--hub_token",
            "***",
            "--api-key=***",
            "--max_steps",
            "4",
            "--run_name=***-x",
        ),
        *("--out", "a/***/b", "--hub_token", "--fp16", "--name", "not-a-secret", "--x", "***"),
        *("--push_to_hub_token", "***", "--url", "https://***@host/x", "me@host", "-token"),
    ]
    assert in_environment(variables) == ["from-the-environment"] and without_secrets([], {}) == []
