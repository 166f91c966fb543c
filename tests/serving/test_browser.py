"""The page in headless Chromium, as a reader uses it: each task, a phone, the keyboard, a file, a key.

Needs Node, `npm install` in tests/node, and a Chromium: the variable CHROMIUM, or `chromium` on the PATH.
"""

import csv
import io
import json
import os
import shutil
import subprocess

import pytest

from tests.conftest import ROOT
from tests.inference.conftest import save_model
from tests.serving.conftest import running
from tests.serving.test_access import KEY
from tests.serving.test_page import RUNS, TARGETS, add_documents
from tests.serving.test_predict import REJECTION
from trainer_ext.inference import load_predictor

pytestmark = pytest.mark.slow

NODE = ROOT / "tests/node"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
CARD = """---
widget:
- text: good food
---
# Films

<script>alert(1)</script> <img src=x onerror=alert(2)> ![far](http://other.test/x.png) [near](../secret)
"""
FILE = 'id,review,label\n1,"good, ""food""\n",x\n2,bad staff 😀,y\n3,,z\n'


def find_chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, CHROMIUMS)), None)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    films = save_model(folder / "films")
    add_documents(films)
    (films / "README.md").write_text(CARD, encoding="utf-8")
    shutil.copy(ROOT / "docs/architecture.png", films / "plots/curves.png")
    aspects = {"columns": ["food", "staff"], "classes": ["bad", "flat", "good"]}
    aspects["values"] = aspects["classes"]
    return {
        "films": films,
        "tags": save_model(folder / "tags", "multi_label"),
        "reviews": save_model(folder / "reviews", "multi_aspect", label_space=aspects),
        "essays": save_model(folder / "essays", "regression", label_space=TARGETS),
        "commands": RUNS / "onnx_joint",
        "unsure": save_model(folder / "unsure", rejection=REJECTION),
    }


@pytest.fixture(scope="module")
def seen(models, tmp_path_factory):
    """What tests/node/page.mjs saw."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium: set CHROMIUM, or put one on the PATH")
    if not (NODE / "node_modules/playwright-core").exists():
        pytest.skip("playwright-core is not installed: npm install --prefix tests/node")
    folder = tmp_path_factory.mktemp("settings")
    (folder / "in.csv").write_text(FILE, encoding="utf-8")
    (folder / "broken.csv").write_text("id,review\n1,a,b\n", encoding="utf-8")
    settings = {
        "chromium": chromium,
        "models": list(models),
        "texts": {**dict.fromkeys(models, "good food"), "unsure": "food"},
        "csv": str(folder / "in.csv"),
        "brokenCsv": str(folder / "broken.csv"),
        "csvModel": "films",
        "cardModel": "films",
        "compared": ["films", "tags"],
        "key": KEY,
        "screenshots": None,
    }
    flags = []
    for name, path in models.items():
        flags += ["--model", f"{name}={path}"]
    closed_flags = ["--model", models["films"]]
    # Two processes, so that a page that kept something in one of them would stumble.
    with (
        running(*flags, "--workers", 2) as server,
        running(*closed_flags, env={"TRAINER_EXT_API_KEY": KEY}) as closed,
    ):
        settings["url"] = f"http://127.0.0.1:{server.port}/"
        settings["keyUrl"] = f"http://127.0.0.1:{closed.port}/"
        (folder / "settings.json").write_text(json.dumps(settings))
        command = ["node", "page.mjs", folder / "settings.json"]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "hosts": (settings["url"], settings["keyUrl"])}


def test_no_request_leaves_the_machine(seen):
    """Whatever the browser asked for, pictures in cards and refused scripts included, it asked this server for."""
    assert len(seen["requests"]) > 100
    for address in seen["requests"]:
        assert address.removeprefix("blob:").startswith(seen["hosts"]), address


def test_every_task_is_shown(seen):
    """The answer's words, and its numbers."""
    answers = seen["answers"]
    assert "pos" in answers["films"] and "95.0%" in answers["films"]
    assert "chosen" in answers["tags"]
    assert "food" in answers["reviews"] and "staff" in answers["reviews"]
    assert "2020" in answers["essays"] and "plot" in answers["essays"]
    assert "Intent" in answers["commands"]
    assert "The model does not know this kind of text" in answers["unsure"]


def test_nothing_stumbles(seen):
    """No error in the console but the refused key; nothing that axe finds, contrast included; nothing too wide."""
    assert [error for error in seen["errors"] if "401" not in error] == []
    assert seen["violations"] == [] and seen["wide"] == []


def test_keyboard_phone_dark_and_chinese(seen):
    """Arrows between the tabs, the system's language and colours, and choices that are kept."""
    expected = ["tab-file", "tab-model", "tab-compare", "tab-text", "tab-compare", "tab-text"]
    assert seen["focus"] == [*expected, "text"]
    assert seen["language"] == "zh-CN" and seen["tab"] == "文本"
    assert seen["background"] == "rgb(22, 24, 28)"
    assert seen["kept"] == ["Text", "rgb(255, 255, 255)"]


def test_a_file_comes_back_as_predict_writes_it(seen, models):
    """All columns of the file, then the answer's; a column of that name is kept, and a broken file is refused."""
    name, text = seen["saved"]
    assert name == "in-answers.csv" and text.startswith("\ufeff")
    header, *rows = csv.reader(io.StringIO(text[1:]))
    assert header[:5] == ["id", "review", "label", "predicted_label", "score"]
    _, *known = csv.reader(io.StringIO(FILE))
    answers = load_predictor(models["films"], provider="cpu").predict([row[1] for row in known])
    for row, given, answer in zip(rows, known, answers, strict=True):
        assert row[:3] == given and row[3] == answer["label"]
        assert float(row[4]) == pytest.approx(answer["score"], abs=1e-5)
    assert seen["column"] == "review" and seen["progress"] == "3 of 3 rows"
    assert seen["broken"] == "Row 1 has 3 cells; the header has 2."


def test_card_plots_and_examples(seen):
    """The card is text, whatever it holds; its examples are those of the page."""
    assert "<script>alert(1)</script> <img src=x onerror=alert(2)> far near" in seen["card"]
    assert "eval_f1_macro" in seen["card"] and seen["plots"] == ["Plot: plots/curves.png"]
    assert seen["examples"] == ["good food"]


def test_two_models_and_a_key(seen):
    """Side by side, with what they say otherwise; the key is asked for, and used."""
    assert seen["compared"].startswith("They differ: pos and neutral, pos.")
    assert "pos" in seen["withKey"]
