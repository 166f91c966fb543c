"""Several widths in one command: each as a run of its own makes it, kept when started again, compared at the end."""

import pytest

from tests.compression.test_stages import SCRATCH, train
from trainer_ext.files import file_sha256, read_json
from trainer_ext.inference import load_predictor


@pytest.fixture(scope="module")
def start(rows):
    """Train the model that is cut; its folder lies beside the rows."""
    done = train(rows, "whole", *SCRATCH)
    assert done.returncode == 0, done.stderr
    return rows


def cut(folder, output, *widths):
    """Cut the start to some widths, distilled from it."""
    whole = str(folder / "whole")
    more = ["--model_name_or_path", whole, "--teacher", whole, "--distill", "soft"]
    more += ["--validation_file", str(folder / "rows.txt"), "--compression", "width"]
    return train(folder, output, *more, "--width", *widths)


@pytest.mark.slow
def test_each_width_is_a_model_and_is_kept(start):
    """The first as if it were alone; with one width more only that one is trained."""
    alone = cut(start, "alone", "0.75")
    assert alone.returncode == 0, alone.stderr
    done = cut(start, "widths", "0.75", "0.25")
    assert done.returncode == 0, done.stderr
    models = [start / "widths" / f"width-{width}" for width in ("0.75", "0.25", "0.5")]
    weights = [model / "model.safetensors" for model in models]
    assert file_sha256(weights[0]) == file_sha256(start / "alone" / "model.safetensors")
    before = [path.stat().st_mtime_ns for path in weights[:2]]
    done = cut(start, "widths", "0.75", "0.25", "0.5")
    assert done.returncode == 0, done.stderr
    assert [path.stat().st_mtime_ns for path in weights[:2]] == before
    assert done.stderr.count("finished before, kept") == 2
    # The teacher was asked for the first width alone.
    assert "the teacher's answers to 40 rows are in" in done.stderr
    for model, heads in zip(models, (3, 1, 2), strict=True):
        assert len(load_predictor(model).predict(["good day"])) == 1
        assert (
            read_json(model / "config.json")["layer_sizes"]
            == [{"heads": heads, "inner": 6 * heads}] * 2
        )
    report = read_json(start / "widths" / "widths.json")
    assert [row["width"] for row in report["widths"]] == [0.75, 0.25, 0.5]
    for row, model in zip(report["widths"], models, strict=True):
        assert row["metric"] == read_json(model / "metrics.json")["eval_f1_macro"]
        assert row["bytes"] == (model / "model.safetensors").stat().st_size
    assert "width-0.25" in done.stdout.rpartition("model ")[2]


def test_a_folder_with_one_model_is_not_taken(start):
    """It is left as it was."""
    before = file_sha256(start / "whole" / "config.json")
    done = cut(start, "whole", "0.75", "0.5")
    assert done.returncode == 2
    assert "already holds a run of one model" in done.stderr
    assert file_sha256(start / "whole" / "config.json") == before


@pytest.mark.parametrize(
    "more, message",
    [
        (["--width", "0.5", "0.5"], "width 0.5 0.5: the widths must differ"),
        (["--seeds", "1", "2"], "width 0.5 0.25 makes a model of each width, but folds or seeds"),
        (["--compression", "width", "qat"], "but compression width qat goes on with one"),
        (["--target_speedup", "2"], "width 0.5 0.25 and target_speedup 2 are given"),
        (["--resume_from_checkpoint", "x"], "resume_from_checkpoint x names one checkpoint"),
        (["--width", "0.5", "1.5"], "width 1.5 is out of range"),
    ],
)
def test_what_does_not_go_with_several_widths(rows, more, message):
    """One line, exit status 2."""
    flags = ["--compression", "width", "--width", "0.5", "0.25"]
    flags += ["--validation_file", str(rows / "rows.txt"), *more]
    done = train(rows, "wrong", *SCRATCH, *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (rows / "wrong").exists()


def test_without_validation_rows_nothing_could_be_compared(rows):
    """Said before anything is trained."""
    done = train(rows, "wrong", *SCRATCH, "--compression", "width", "--width", "0.5", "0.25")
    assert done.returncode == 2
    assert "width 0.5 0.25 compares its models on validation rows" in done.stderr
