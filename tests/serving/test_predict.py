"""What each route answers, and refuses: one server with models of all tasks, their answers beside predict's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.inference.conftest import expected_logits, save_model, save_onnx
from tests.serving.conftest import running
from tests.test_imports import HEAVY
from trainer_ext.inference import load_predictor
from trainer_ext.tasks.activations import softmax

RUNS = Path(__file__).resolve().parents[1] / "compatibility" / "runs_of_0_1"
NAMES = ("films", "unsure", "folds", "multi_label", "multi_aspect", "regression", "joint")
REJECTION = {"score": "max_probability", "threshold": 0.1, "rate": 0.05}
TEXTS = ["good food", "bad staff today", "", "dull \u0000 \U0001f600 \u202e 混合"]


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cv")
    save_model(folder / "fold-0")
    save_onnx(save_model(folder / "fold-1") / "model.onnx", sign=-1)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory, folds) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    targets = {"columns": ["plot", "cast", "music"], "classes": [], "values": []}
    return {
        "films": save_model(folder / "films"),
        "unsure": save_model(folder / "unsure", rejection=REJECTION),
        "folds": folds,
        "multi_label": save_model(folder / "multi_label", "multi_label"),
        "multi_aspect": save_model(folder / "multi_aspect", "multi_aspect"),
        "regression": save_model(folder / "regression", "regression", label_space=targets),
        "joint": RUNS / "onnx_joint",  # its INT8 file
    }


@pytest.fixture(scope="module")
def server(models):
    flags = []
    for name, path in models.items():
        flags += ["--model", f"{name}={path}"]
    limits = ["--max_texts", "5", "--max_characters", "100", "--max_body_bytes", "2000"]
    with running(*flags, *limits) as server:
        yield server


# --- /predict ---------------------------------------------------------------------------------------------------------


def are_close(own, other) -> bool:
    """Whether two answers are equal but for the last digit of their numbers."""
    if isinstance(own, dict):
        return own.keys() == other.keys() and all(are_close(own[key], other[key]) for key in own)
    if isinstance(own, float):
        return abs(own - other) < 1e-5
    return own == other


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_predict(server, models, name):
    """Of every task, of INT8 and float, alone and in a list; an ensemble of folds as well."""
    expected = load_predictor(models[name], provider="cpu").predict(TEXTS)
    status, together, _ = server.post({"texts": TEXTS, "model": name})
    assert status == 200
    for text, answer, known in zip(TEXTS, together, expected, strict=True):
        assert answer["text"] == text and answer["status"] == 200
        assert are_close({key: answer[key] for key in known}, known)
        alone = server.post({"text": text, "model": name}).content
        assert are_close(alone, answer) and (name != "joint" or alone == answer)


def test_class_and_confidence(server):
    """Of the task's own answer; the first model answers if none is named."""
    answer = server.post({"text": "good food"}).content
    probabilities = softmax(np.array(expected_logits("good food")))
    assert answer["pred_class"] == answer["label"] == "pos"
    assert answer["confidence"] == pytest.approx(probabilities.max(), abs=1e-6)
    joint = server.post({"text": "play jazz", "model": "joint"}).content
    assert joint["pred_class"] == joint["intent"] and joint["confidence"] == joint["intent_score"]
    scores = server.post({"text": "good", "model": "regression"}).content
    assert "pred_class" not in scores and scores["scores"]


def test_a_model_may_not_know(server):
    """It says so of each text; the threshold lies between the two."""
    sure, unsure = server.post({"texts": ["good good good", "food"], "model": "unsure"}).content
    assert (sure["rejected"], unsure["rejected"]) == (False, True)
    probabilities = softmax(np.array(expected_logits("food")))
    assert unsure["ood_score"] == pytest.approx(1 - probabilities.max(), abs=1e-6)


def test_headers_tell_the_time_and_the_id(server):
    """Of each stage in milliseconds; the client's own id is kept if it is one."""
    headers = server.post({"text": "good food"}, **{"X-Request-Id": "mine-1"}).headers
    assert headers["x-request-id"] == "mine-1" and headers["x-compute-tokens"] == "3"
    stages = [float(headers[f"x-{name}-time"]) for name in ("queue", "tokenization", "inference")]
    assert min(stages) > 0 and sum(stages) <= float(headers["x-total-time"])
    made = server.post({"text": "good"}, **{"X-Request-Id": "no id: {}"}).headers["x-request-id"]
    assert len(made) == 32


# --- text-embeddings-inference, the Hub's client, vLLM ----------------------------------------------------------------


def test_inputs_are_answered_as_tei_does(server):
    """Labels with scores, the best first; a batch is a list of lists; raw scores are logits."""
    (first, second, third) = server.post({"inputs": "good food"}).content
    assert [first["label"], second["label"], third["label"]] == ["pos", "neutral", "neg"]
    assert first["score"] > second["score"] > third["score"]
    batch = server.post({"inputs": [["good food"], ["bad"]]}).content
    assert batch[0] == [first, second, third] and batch[1][0]["label"] == "neg"
    raw = server.post({"inputs": "good food", "raw_scores": True}).content
    by_label = {item["label"]: item["score"] for item in raw}
    assert list(map(by_label.get, ("neg", "neutral", "pos"))) == pytest.approx(
        expected_logits("good food")
    )


def test_truncate_false_refuses_what_would_be_cut(server):
    """The model reads 12 tokens, one of them special."""
    fits = {"inputs": " ".join(["good"] * 11), "truncate": False}
    assert server.post(fits).status == 200
    too_long = {"inputs": " ".join(["good"] * 12), "truncate": False}
    status, content, _ = server.post(too_long)
    assert status == 422 and "more than 12 tokens" in content["error"]
    assert server.post({**too_long, "truncate": True}).status == 200


HUB_CLIENT = """
import json, sys
from huggingface_hub import InferenceClient
client = InferenceClient(model=sys.argv[1])
found = [client.text_classification("good food", **kwargs) for kwargs in json.loads(sys.argv[2])]
print(json.dumps([[(item.label, item.score) for item in items] for items in found]))
"""


def test_inference_client_of_the_hub(server):
    """`InferenceClient.text_classification`, with and without parameters; in a process that may use the network."""
    url = f"http://127.0.0.1:{server.port}/predict"
    calls = [{}, {"top_k": 1}, {"function_to_apply": "none"}]
    done = subprocess.run(
        [sys.executable, "-c", HUB_CLIENT, url, json.dumps(calls)],
        env={**os.environ, "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    plain, best, logits = json.loads(done.stdout)
    assert plain[0] == ["pos", pytest.approx(0.95033, abs=1e-5)] and len(plain) == 3
    assert [label for label, _ in best] == ["pos"]
    assert logits[0][1] == pytest.approx(max(expected_logits("good food")))


def test_classify_as_vllm_does(server):
    """`data` by index, and the tokens used."""
    status, content, _ = server.post(
        {"model": "films", "input": ["good food", "bad"]}, "/v1/classify"
    )
    assert status == 200 and content["object"] == "list" and content["model"] == "films"
    assert [row["index"] for row in content["data"]] == [0, 1]
    assert [row["label"] for row in content["data"]] == ["pos", "neg"]
    assert content["data"][0]["num_classes"] == 3
    assert sum(content["data"][0]["probs"]) == pytest.approx(1, abs=1e-5)
    assert content["usage"]["prompt_tokens"] == 3 + 2


def test_openai_client(server):
    """Its own requests, and its own errors."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none")
    body = {"model": "films", "input": "good food"}
    found = client.post("/classify", cast_to=object, body=body)
    assert found["data"][0]["label"] == "pos"
    with pytest.raises(openai.UnprocessableEntityError, match="input: Input should be") as refused:
        client.post("/classify", cast_to=object, body={"input": 5})
    assert refused.value.param == "input" and refused.value.type == "Validation"
    with pytest.raises(openai.NotFoundError, match="there is no such model"):
        client.post("/classify", cast_to=object, body={**body, "model": "other"})


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "not JSON": (b"{nope", 400, "not JSON"),
    "no object": (b"[]", 422, "body: expected a JSON object"),
    "empty": ({}, 422, "body: expected one of text, texts, inputs; got none"),
    "two forms": ({"text": "a", "texts": ["a"]}, 422, "got text and texts"),
    "a number": ({"text": 5}, 422, "text: Input should be a valid string"),
    "null": ({"text": None}, 422, "text: Input should be a valid string"),
    "an empty list": ({"texts": []}, 422, "texts: List should have at least 1 item"),
    "a number in a list": ({"texts": ["a", 1]}, 422, "texts.1: Input should be a valid string"),
    "an unknown key": ({"text": "a", "modle": "x"}, 422, "modle: Extra inputs"),
    "an unknown model": ({"text": "a", "model": "/etc/passwd"}, 404, "there is no such model"),
    "half a character": (b'{"text": "\\ud83d"}', (400, 422), ""),
    "a long text": ({"texts": ["a", "b" * 101]}, 422, "texts.1: 101 characters, more than the 100"),
    "many texts": ({"texts": ["a"] * 6}, 422, "texts: 6 texts, more than the 5"),
    "a large body": ({"text": "b" * 3000}, 413, "more than 2000 bytes"),
    "a pair": ({"inputs": ["a", "b"]}, 422, "inputs: expected a list of one text, got 2"),
    "pairs": ({"inputs": [["a"], ["a", "b"]]}, 422, "inputs.1: expected a list of one text, got 2"),
    "no inputs": ({"inputs": []}, 422, "inputs: expected a list of one text, got 0"),
    "a number as inputs": ({"inputs": 5}, 422, "inputs: Input should be a valid string"),
    "scores of aspects": ({"inputs": "a", "model": "multi_aspect"}, 422, "is for multi_aspect"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_field_and_reason(server, what):
    """And the error's type; no part of a text comes back."""
    body, expected, reason = REFUSED[what]
    status, content, _ = server.post(body)
    assert status in np.atleast_1d(expected) and reason in content["error"], content
    assert content["error_type"] in ("Validation", "ModelNotFound")
    assert server.post({"text": "good"}).status == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)
KEYS = ("text", "texts", "inputs", "input", "model", "truncate", "raw_scores", "parameters", "x")


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4) | JSON)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_answered_or_refused(server, body):
    """No 500, and JSON in every answer."""
    for path in ("/predict", "/v1/classify"):
        status, content, _ = server.post(json.dumps(body).encode(), path)
        assert status in (200, 400, 404, 413, 422), (body, content)
        assert status == 200 or "error" in content


def test_errors_of_v1_are_those_of_openai(server):
    """`error.message`, `type`, `param`."""
    status, content, _ = server.post({"input": 5}, "/v1/classify")
    assert status == 422 and content["error"]["type"] == "Validation"
    assert content["error"]["param"] == "input"


def test_a_large_body_is_refused_when_it_has_been_sent(server):
    """15 MB: the answer is read by a client that sends everything first."""
    assert server.post({"text": "长" * 5_000_000}).status == 413


def test_unknown_routes_and_methods(server):
    """As JSON too."""
    assert server.get("/../../etc/passwd").status == 404
    assert server.get("/predict").status == 405


# --- how the server is ------------------------------------------------------------------------------------------------


def test_health_info_and_metrics(server):
    """The provider in use, the probe verdict, and counters by stage."""
    health = server.get("/health").content
    assert health["models"]["films"]["providers"] == ["CPUExecutionProvider"]
    assert server.get("/ready").content["status"] == "ready"
    info = server.get("/info").content
    assert info["model_id"] == "films" and info["max_client_batch_size"] == 5
    assert info["model_type"]["classifier"]["label2id"] == {"neg": 0, "neutral": 1, "pos": 2}
    assert len(info["models"][0]["version"]) == 64
    metrics = server.get("/metrics").content
    assert "# HELP trainer_ext_requests_total" in metrics
    assert 'trainer_ext_stage_seconds_count{model="films",stage="inference"}' in metrics
    assert 'route="/etc' not in metrics


def test_openapi_has_bodies_with_examples(server):
    """Each example of a body is one that the server answers."""
    page = server.get("/openapi.json").content
    schema = page["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    for reference in schema["anyOf"]:
        body = page["components"]["schemas"][reference["$ref"].rsplit("/", 1)[1]]
        for example in body["examples"]:
            assert server.post(example).status == 200, example
    assert "422" in page["paths"]["/predict"]["post"]["responses"]


def test_curl(server):
    """As the documentation shows it."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    url = f"http://127.0.0.1:{server.port}/predict"
    command = ["curl", "-s", url, "-d", json.dumps({"text": "good food"})]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["pred_class"] == "pos"


def test_the_server_loads_nothing_heavy():
    """Neither torch nor transformers, for models that were exported."""
    code = (
        "import sys, trainer_ext.cli.serve, trainer_ext.serving.server, trainer_ext.serving.model\n"
        f"print(*(name for name in {sorted(HEAVY)} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
