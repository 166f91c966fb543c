"""Every method of `settings.py` alone, and every pair that makes sense: trains, resumes, reloads, exports.

One run proves: the losses are finite and the loss on the trained rows falls; a run resumed from the checkpoint in its
middle ends with the same bits; a process that has never trained loads the model to equal logits; the model passes the
export gate. The rest of the file shows that the table is whole and that what makes no sense is refused.
"""

import json
import math
import random
import shutil
import subprocess
import sys
from dataclasses import field, make_dataclass
from pathlib import Path

import numpy as np
import pandas
import pytest
from transformers import BertConfig, BertModel

import trainer_ext.training.job
from tests import settings
from tests.conftest import ASPECTS, CLASSES, FILLER, ROOT
from tests.settings import (
    SETTINGS,
    Setting,
    impossible_tasks,
    method_flags,
    refused_pairs,
    sensible_pairs,
    uncovered,
)
from trainer_ext import fit, load_predictor
from trainer_ext.arguments.parser import parse_values
from trainer_ext.errors import UserError
from trainer_ext.export.options import ExportOptions
from trainer_ext.export.run import export_model
from trainer_ext.modeling.scratch import train_tokenizer

if missing := uncovered(method_flags()):
    raise AssertionError(f"tests/settings.py has no entry for {', '.join(missing)}")

ROWS, STEPS, MIDDLE = 48, 12, 4
PAIRS = sensible_pairs()
RECIPE = {
    "max_length": 16,
    "max_steps": STEPS,
    "save_steps": MIDDLE,
    "eval_strategy": "steps",
    "eval_steps": STEPS,
    "eval_on_start": True,
    "logging_steps": 1,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 48,
    "learning_rate": 1e-2,
    "report_to": "none",
    "write_report": False,
    "disable_tqdm": True,
}
SCORES = {"label_columns": ["quality", "price"]}
TASK_FLAGS = {
    "single_label": {},
    "multi_aspect": {"label_columns": ASPECTS, "label_names": ["none", "bad", "great"]},
    "multi_label": {"label_columns": ["labels"], "label_names": list(CLASSES)},
    "regression": SCORES,
    "joint": {},
}


def rows_of(task: str) -> list[dict]:
    """48 rows whose words give the labels away; lengths differ."""
    generator = random.Random(5)
    make_row = ROW_MAKERS[task]
    rows = []
    for number in range(ROWS):
        filler = generator.choices(FILLER, k=generator.randint(0, 3))
        rows.append(make_row(number, generator, filler))
    return rows


def aspects_row(number: int, generator: random.Random, filler: list[str]) -> dict:
    """`great food`: each aspect that is not `none` is in the text with its polarity."""
    values = {name: generator.choice(["none", "bad", "great"]) for name in ASPECTS}
    words = [f"{value} {name}" for name, value in values.items() if value != "none"]
    return {"text": " ".join(["it", *words, *filler]), **values}


def labels_row(number: int, generator: random.Random, filler: list[str]) -> dict:
    """A word for each label."""
    labels = [name for name in CLASSES if generator.random() < 0.4]
    words = [CLASSES[name][0] for name in labels]
    return {"text": " ".join(["it", *words, *filler]), "labels": labels}


def scores_row(number: int, generator: random.Random, filler: list[str]) -> dict:
    """As many words as points."""
    good = generator.randint(0, 3)
    dear = generator.randint(0, 3)
    words = ["good"] * good + ["dear"] * dear
    text = " ".join(["it", *words, *filler])
    return {"text": text, "quality": 1 + good, "price": 50 + 5 * dear}


def class_row(number: int, generator: random.Random, filler: list[str]) -> dict:
    """Two words of the class, anywhere."""
    label = list(CLASSES)[number % len(CLASSES)]
    words = [*generator.choices(CLASSES[label], k=2), *filler]
    return {"text": " ".join(generator.sample(words, k=len(words))), "label": label}


def intent_row(number: int, generator: random.Random, filler: list[str]) -> dict:
    """The same, with a slot for each word of a class."""
    row = class_row(number, generator, filler)
    tokens = row["text"].split(" ")
    return {"tokens": tokens, "slots": [tag_of(word) for word in tokens], "intent": row["label"]}


ROW_MAKERS = {
    "single_label": class_row,
    "multi_aspect": aspects_row,
    "multi_label": labels_row,
    "regression": scores_row,
    "joint": intent_row,
}


def tag_of(word: str) -> str:
    """The class that a word gives away, as a slot."""
    for name, words in CLASSES.items():
        if word in words:
            return f"B-{name}"
    return "O"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A pretrained encoder of four layers, with its tokenizer; here it has seen nothing."""
    return make_encoder(tmp_path_factory.mktemp("encoder"))


def make_encoder(folder: Path) -> Path:
    """The encoder that the table trains, in a folder."""
    import torch

    words = [
        row["text"]
        for task in ("single_label", "multi_aspect", "regression")
        for row in rows_of(task)
    ]
    tokenizer = train_tokenizer(words, 160, 32)
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=32, initializer_range=0.1, **shape
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def short_runs():
    """Without the plots, which have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_ext.training.finished, "write_plots", lambda *args: None)
        yield


@pytest.fixture(scope="module")
def reload():
    """Ask a process that only loads and answers for the logits of a checkpoint."""
    code = (
        "import sys, numpy, json\n"
        "from trainer_ext import load_predictor\n"
        "for line in sys.stdin:\n"
        "    folder, inputs = json.loads(line)\n"
        "    predictor = load_predictor(folder, num_threads=1)\n"
        "    logits = predictor.task.flat(predictor.logits(inputs))\n"
        "    numpy.save(folder + '/reloaded.npy', logits)\n"
        "    print('done', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def ask(folder: Path, inputs: list) -> np.ndarray:
        process.stdin.write(json.dumps([str(folder), inputs]) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n", f"{folder} was not loaded"
        return np.load(folder / "reloaded.npy")

    yield ask
    process.stdin.close()
    process.wait()


@pytest.fixture
def train(encoder, tmp_path):
    """Train one task with some settings, twice: from the start, and from the middle of that run."""
    yield lambda *chosen, task: train_and_resume(encoder, tmp_path, task, chosen)
    shutil.rmtree(tmp_path)


def flags_of(task: str, chosen: tuple[Setting, ...], encoder: Path | str) -> dict:
    """A recipe: the later ones of the settings win."""
    flags = {
        "task": task,
        "model_name_or_path": str(encoder),
        **RECIPE,
        **TASK_FLAGS[task],
        **settings.PLAIN.flags,
    }
    for setting in chosen:
        flags |= setting.flags
    return flags


def train_and_resume(encoder: Path, folder: Path, task: str, chosen: tuple[Setting, ...]) -> Path:
    """The output folder of the whole run, after everything that a run must show."""
    rows = pandas.DataFrame(rows_of(task))
    flags = flags_of(task, chosen, encoder) | {"train_file": rows, "validation_file": rows}
    whole = folder / "whole"
    again = folder / "again"
    run = fit(flags, output_dir=whole)
    last = whole / f"checkpoint-{STEPS}"
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    check_losses(history, all(setting.falls for setting in chosen))
    middle = shutil.copytree(
        whole / f"checkpoint-{MIDDLE}", folder / "cut" / f"checkpoint-{MIDDLE}"
    )
    resumed = fit(flags, output_dir=again, resume_from_checkpoint=str(middle))
    for file in [whole / "model.safetensors", *last.glob("*.safetensors")]:
        other = again / file.relative_to(whole)
        assert other.read_bytes() == file.read_bytes(), f"{file.name} differs after resuming"
    scores = evaluation_of(run.metrics)
    assert evaluation_of(resumed.metrics) == scores and len(scores) >= 3
    return whole


def evaluation_of(metrics: dict[str, float]) -> dict[str, float]:
    """The scores without the times, which differ from run to run."""
    return {name: value for name, value in metrics.items() if name.startswith("eval_")}


def check_losses(history: list[dict], falls: bool) -> None:
    """All finite; if it `falls`, the loss on all training rows (without dropout) is lower after than before."""
    logged = []
    for entry in history:
        logged += [value for name, value in entry.items() if "loss" in name or name == "grad_norm"]
    assert len(logged) > STEPS and all(map(math.isfinite, logged))
    evaluated = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert "eval_loss" in history[0], "nothing was evaluated before the training"
    before, after = evaluated[0], evaluated[-1]
    assert not falls or after < 0.99 * before, f"the loss went from {before} to {after}"


def check_reload(folder: Path, reload) -> None:
    """A process that has never trained answers to the bit as this one."""
    predictor = load_predictor(folder, num_threads=1)
    inputs = [
        " ".join(sum(CLASSES.values(), [])),
        "good",
        "a new team in the city, dear and great food",
    ]
    assert np.array_equal(predictor.task.flat(predictor.logits(inputs)), reload(folder, inputs))


def check_export(folder: Path) -> None:
    """ONNX equals PyTorch (the gate's tolerance), INT8 is judged, and the chosen file answers."""
    out = folder.parent / "onnx"
    report = export_model(ExportOptions(folder, out, None, 100.0, None, False))
    onnx = report.variants[1]
    assert onnx.name == "onnx" and onnx.good and onnx.label_agreement == 1, onnx
    assert report.passed, report
    assert load_predictor(out).predict(["a new goal"])


def identifier(value) -> str | None:
    return value.name if isinstance(value, Setting) else None


# --- one method alone -----------------------------------------------------------------------------------------------

ALONE: list[tuple[Setting, str]] = []
REST: list[tuple[Setting, str]] = []
for number, setting in enumerate(SETTINGS):
    of_setting = [(setting, task) for task in setting.tasks]
    if setting.is_objective or not setting.flags:
        # An objective looks at the labels: every task is another case.
        ALONE += of_setting
    else:
        # Other methods do not: one task each, in turn, and the rest in the slow test.
        turn = number % len(of_setting)
        ALONE.append(of_setting[turn])
        REST += of_setting[:turn] + of_setting[turn + 1 :]


@pytest.mark.parametrize("setting, task", ALONE, ids=identifier)
def test_alone(setting, task, train, reload):
    """Trains, resumes and reloads."""
    check_reload(train(setting, task=task), reload)


@pytest.mark.slow
@pytest.mark.parametrize("setting, task", REST, ids=identifier)
def test_alone_with_the_other_tasks(setting, task, train, reload):
    """The same for what is left of the table."""
    check_reload(train(setting, task=task), reload)


# --- pairs ----------------------------------------------------------------------------------------------------------

SAMPLE = PAIRS[7 :: len(PAIRS) // 8]


@pytest.mark.parametrize("one, other, task", SAMPLE, ids=identifier)
def test_some_pairs(one, other, task, train, reload):
    """A fixed sample of what the slow test does."""
    check_reload(train(one, other, task=task), reload)


@pytest.mark.slow
@pytest.mark.parametrize("one, other, task", PAIRS, ids=identifier)
def test_every_pair(one, other, task, train, reload, exported):
    """Trains, resumes, reloads; and exports, unless a model of the very same config has been exported."""
    folder = train(one, other, task=task)
    check_reload(folder, reload)
    if exported(folder):
        check_export(folder)


@pytest.fixture(scope="module")
def exported():
    """Tells whether a config is new: the exported graph is a function of it alone, and the weights are checked."""
    seen = set()

    def is_new(folder: Path) -> bool:
        config = json.loads((folder / "config.json").read_text())
        key = json.dumps({**config, "pipeline": config["pipeline"]["task"]}, sort_keys=True)
        new = key not in seen
        seen.add(key)
        return new

    return is_new


# --- export ---------------------------------------------------------------------------------------------------------

POOLED = [setting for setting in SETTINGS if "pooling" in setting.flags]
HEADS = [(POOLED[k % len(POOLED)], settings.ALL[k % len(settings.ALL)]) for k in range(len(POOLED))]


@pytest.mark.parametrize("setting, task", HEADS, ids=identifier)
def test_export_of_every_head_and_pooling(setting, task, train):
    """Through the gate."""
    check_export(train(setting, task=task))


@pytest.mark.slow
@pytest.mark.parametrize("setting, task", ALONE, ids=identifier)
def test_export_of_every_method(setting, task, train):
    """Through the gate."""
    check_export(train(setting, task=task))


# --- the table is whole, and what makes no sense is refused ---------------------------------------------------------


def parse(task: str, *chosen: Setting) -> None:
    """What parsing does with a recipe of these settings: it reads no rows."""
    flags = flags_of(task, chosen, "some-encoder")
    parse_values(
        flags | {"train_file": __file__, "validation_file": __file__, "output_dir": "out"}, {}
    )


def test_every_method_parses_with_its_tasks_and_with_no_other():
    """An entry that names too few tasks, or too many, shows here."""
    for setting in SETTINGS:
        for task in setting.tasks:
            parse(task, setting)
    assert len(impossible_tasks()) > 30
    for setting, task in impossible_tasks():
        with pytest.raises(UserError) as caught:
            parse(task, setting)
        assert any(name in str(caught.value) for name in setting.flags), (
            f"{setting.name}, {task}: {caught.value}"
        )


def test_pairs_that_make_no_sense_are_refused_with_both_flags():
    """All the others are trained by the slow test."""
    for one, other, task, why in refused_pairs():
        with pytest.raises(UserError) as caught:
            parse(task, one, other)
        for setting in (one, other):
            named = any(name in str(caught.value) for name in setting.flags)
            assert named, f"{one.name} and {other.name} ({why}): {caught.value}"
    assert len(refused_pairs()) > 20 and len(PAIRS) > 700


def test_every_reason_is_about_methods_in_the_table():
    """A misspelt name would refuse nothing."""
    for first, second, _ in settings.REFUSED:
        assert first | second <= set(settings.BY_NAME)


def test_a_method_without_an_entry_is_found():
    """A new flag, a new choice, and an entry that was taken out."""
    assert uncovered(["mixup_alpha", "pooling=median"]) == ["mixup_alpha", "pooling=median"]
    fewer = [setting for setting in SETTINGS if setting.name not in ("PGD", "R-Drop")]
    assert uncovered(method_flags(), fewer) == [
        "rdrop_alpha",
        "adversarial=pgd",
        "adversarial_steps",
    ]


def test_method_flags_are_read_from_the_dataclasses(monkeypatch):
    """A flag that is added there is a method until the table says otherwise."""
    spec = field(default="a", metadata={"choices": ("a", "b")})
    added = make_dataclass("Added", [("sharpness", str, spec), ("strength", float, 0.0)])
    monkeypatch.setattr(settings, "ModelArguments", added)
    found = list(method_flags())
    assert {"sharpness=a", "sharpness=b", "strength"} <= set(found)
    assert uncovered(found) == ["sharpness=b", "strength"], (
        "the default choice is what `plain` trains with"
    )
