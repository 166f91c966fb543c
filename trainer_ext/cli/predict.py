"""Predict for texts or for a file of rows, with one model or several.

A model is a checkpoint, an ONNX folder, a folder of folds or seeds, artifact:NAME:ALIAS of the local store or
wandb:ENTITY/PROJECT/NAME:ALIAS. Several (--model A --model B, or --model 'A-{0..4}') answer together, by the mean of
their probabilities unless --ensemble says otherwise.

The input is csv, tsv, jsonl, json, parquet or txt (.gz too), or - for standard input, one text per line. The output
is jsonl or csv by file extension (- is jsonl on standard output), one row per input row, in order; without --output a
table is printed. An interrupted run goes on with --resume.
With --evaluate the input is labelled, and the task's metrics are printed and saved.
"""

import logging
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trainer_ext.arguments.fields import option
from trainer_ext.arguments.files import FileOptions, file_options
from trainer_ext.arguments.launch import DEFAULT_ADDRESS
from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.cli.predict_shards import EngineOptions, check_shards, predict_shards
from trainer_ext.data.io.answers import (
    check_not_read,
    check_output,
    metrics_path,
    print_answers,
    records_of,
    write_records,
)
from trainer_ext.data.io.readers import file_format
from trainer_ext.errors import UserError
from trainer_ext.files import is_stream
from trainer_ext.tasks import TASKS

if TYPE_CHECKING:
    from trainer_ext.inference import Predictor
    from trainer_ext.inference.submission import Submission

Item = TypeVar("Item")
EVALUATED_COLUMNS = (
    "; --evaluate needs the columns of the training, unless --text_column and --label_columns name "
    "others"
)
logger = logging.getLogger(__name__)

# As inference/combine.py has them, which loads ONNX Runtime: `--help` should not wait for that.
WAYS = ("mean", "logits", "vote", "weighted")
# As inference/providers.py, inference/loading.py and inference/proving.py have them.
PROVIDERS = ("auto", "tensorrt", "cuda", "openvino", "cpu")
RUNTIMES = ("auto", "native", "onnx")
ON_MISMATCH = ("float", "error", "ignore")
# A table on the screen has columns of its own, and takes no account of these.
OUTPUT_FLAGS = ("keep_columns", "no_text", "labels_only", "submission_format")
# Flags on which every answer depends: an output is not gone on with under other ones.
FORM_FLAGS = (
    "ensemble",
    "text_column",
    "id_column",
    "keep_columns",
    "no_text",
    "labels_only",
    "file_format",
    "delimiter",
    "quoting",
    "column_names",
    "encoding",
)


@dataclass(kw_only=True)
class ModelOptions:
    """Which models answer, and how they run."""

    _argument_group_name = "models"

    model: list[str] = option(
        help="Folder or reference; may be given several times.", action="append", metavar="MODEL"
    )
    ensemble: str | None = option(
        None, "How several models answer together (default: mean).", choices=WAYS
    )
    file_name: str | None = option(
        None, "Which file of an ONNX folder (default: the one that its report chose)."
    )
    provider: str = option(
        "auto", "Where ONNX Runtime runs; auto: the first that is there.", choices=PROVIDERS
    )
    runtime: str = option(
        "auto",
        "What runs an export's INT8 file; auto: native if it can, else ONNX Runtime.",
        choices=RUNTIMES,
    )
    on_mismatch: str = option(
        "float",
        "If an export answers otherwise on this machine than was proven: take its float model, refuse, or only say so.",
        choices=ON_MISMATCH,
    )
    num_threads: int | None = option(
        None, "Threads; by default as many as the cores that this process may use.", minimum=1
    )
    batch_size: int = option(8, "Rows in one run; INT8 in ONNX Runtime takes one.", minimum=1)
    trust_remote_code: bool = option(False, "Run code shipped with a checkpoint.")
    task: str | None = option(
        None,
        "What a checkpoint of plain transformers predicts, if its config.json does not say.",
        choices=tuple(TASKS),
    )


@dataclass(kw_only=True)
class InputOptions:
    """What is answered for: --text or --input."""

    _argument_group_name = "input"

    text: list[str] | None = option(None, "Texts to answer for.")
    input: str | None = option(None, "File of rows, or - for standard input.", metavar="FILE")
    text_column: str | None = option(
        None, "Column with the text (default: as in training, else 'text')."
    )
    id_column: str | None = option(
        None, "Column that names a row (default: as in training, else 'id')."
    )
    evaluate: bool = option(False, "The input is labelled: print and save the metrics.")
    label_columns: list[str] = option(
        [], "With --evaluate: its label columns (default: as in training, else 'label')."
    )


@dataclass(kw_only=True)
class OutputOptions:
    """Where the answers go, and what they hold."""

    _argument_group_name = "output"

    output: str | None = option(
        None, "Answers as .jsonl or .csv, or - for jsonl on standard output.", metavar="FILE"
    )
    keep_columns: list[str] = option([], "Columns of the input that the answers keep.")
    no_text: bool = option(False, "Leave the text out of the answers.")
    labels_only: bool = option(False, "Leave scores and probabilities out.")
    submission_format: str | None = option(
        None, "A sample submission: the output (.csv) has its columns.", metavar="FILE"
    )
    resume: bool = option(False, "Go on with the output of an interrupted run, if there is one.")


@dataclass(kw_only=True)
class PredictOptions(
    ModelOptions, InputOptions, OutputOptions, EngineOptions, FileOptions, CommandOptions
):
    """The flags of `predict`."""

    _argument_group_name = "models"


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext predict") -> None:
    """Load the models, then answer or evaluate."""
    options = read_options(PredictOptions, argv, prog, __doc__)
    # Before a model is loaded, which may take a download or seconds of reading.
    check(options)
    if options.engine == "ray":
        predict_shards(options)
        return
    predictor = load(options)
    sample = read_sample(options, predictor)
    if options.evaluate:
        evaluate(predictor, options)
    if options.output:
        count = write(predictor, options, sample)
        place = "standard output" if options.output == "-" else options.output
        logger.info("%d rows -> %s", count, place)
    elif not options.evaluate:
        print_answers(answers(predictor, options, options.id_column))


def check(options: PredictOptions) -> None:
    """Refuse contradictions before a model is loaded."""
    if options.engine == "ray":
        check_shards(options)
        return
    if options.ray_address != DEFAULT_ADDRESS:
        raise UserError(f"--ray_address {options.ray_address} is for --engine ray")
    check_input(options)
    check_output_flags(options)
    if options.resume:
        check_resume(options)
    reading = file_options(options)
    reading.check([file_format(options.input, reading)] if options.input else [])
    if options.output:
        check_output(options.output)
    for path in (options.input, options.submission_format):
        if path:
            check_not_read(options.output or "", path)
        if path and options.evaluate and options.input:
            metrics = metrics_path(options.output, options.input)
            check_not_read(metrics, path, "the file of metrics")


def check_input(options: PredictOptions) -> None:
    """Refuse two sources of texts, none, and flags that the source takes no account of."""
    # argparse could exclude the one by the other, but dataclasses of flags do not say so.
    if options.text and options.input:
        raise UserError(f"--text and --input {options.input} are both given; drop one")
    if not options.text and not options.input:
        raise UserError(
            'nothing to answer for: give --text "..." or --input FILE (--help lists the flags)'
        )
    if options.evaluate and not options.input:
        raise UserError("--evaluate needs labelled rows: give --input FILE")
    if options.label_columns and not options.evaluate:
        raise UserError("--label_columns is for --evaluate, which is not given")
    # Answers lie row by row beside the input: a row left out would shift all after it.
    if options.drop_missing and not options.evaluate:
        raise UserError(
            "--drop_missing is for --evaluate: without it each row gets its answer, also an empty one"
        )


def check_output_flags(options: PredictOptions) -> None:
    """Refuse flags of an output that is not written, or that has its columns from elsewhere."""
    sample = options.submission_format
    for name in OUTPUT_FLAGS:
        if not getattr(options, name):
            continue
        if not options.output:
            raise UserError(f"--{name} is for --output: a table on the screen has its own columns")
        if sample and name != "submission_format":
            raise UserError(f"--{name} and --submission_format {sample} are both given; drop one")
    if sample and options.output and not options.output.lower().endswith(".csv"):
        raise UserError(f"--submission_format writes csv, but --output is {options.output}")


def check_resume(options: PredictOptions) -> None:
    """Refuse to go on with what cannot be: rows or answers that are gone once they are read."""
    if not options.output:
        raise UserError("--resume goes on with a file of answers: give --output FILE")
    if is_passing(options.output):
        raise UserError(
            f"--output {options.output}: what an interrupted run wrote there is gone; --resume needs a file"
        )
    if not options.input:
        raise UserError("--resume is for a file of rows: give --input FILE")
    if options.input == "-":
        raise UserError(
            "--input -: an interrupted run has read standard input already; --resume needs a file"
        )
    if options.evaluate:
        raise UserError("--evaluate scores all rows together, so there is nothing to --resume")


def is_passing(output: str) -> bool:
    """Tell whether an output is standard output, a pipe or a device: nothing of it can be kept for later."""
    return output == "-" or is_stream(output)


def load(options: PredictOptions) -> "Predictor":
    """Load what answers, and note what it is."""
    # Late, as all imports below: `--help` and refusals should not wait for ONNX Runtime.
    from trainer_ext.inference import load_predictor

    predictor = load_predictor(
        options.model,
        num_threads=options.num_threads,
        provider=options.provider,
        batch_size=options.batch_size,
        file_name=options.file_name,
        ensemble=options.ensemble,
        trust_remote_code=options.trust_remote_code,
        task=options.task,
        runtime=options.runtime,
        on_mismatch=options.on_mismatch,
    )
    models = ", ".join(options.model)
    logger.info("%s: %s, %s", models, predictor.task.name, predictor.description)
    return predictor


def read_sample(options: PredictOptions, predictor: "Predictor") -> "Submission | None":
    """Read the sample submission if one is given: a wrong one is refused before anything is answered."""
    if not options.submission_format:
        return None
    from trainer_ext.inference.submission import Submission

    return Submission(options.submission_format, predictor.task)


def write(predictor: "Predictor", options: PredictOptions, sample: "Submission | None") -> int:
    """Write the answers, in the columns of a sample submission if there is one; return the number of rows."""
    path = options.output
    assert path is not None
    id_column = options.id_column
    if sample is not None:
        id_column = sample.id_column

    def records(done: int = 0) -> Generator[dict, None, None]:
        # An iterator to the end: memory does not grow with the file.
        found = answers(predictor, options, id_column, done)
        shown = progress(found, done)
        if sample is not None:
            yield from sample.write(shown, done)
        else:
            yield from records_of(path, shown, predictor.task.join)

    if options.input in (None, "-") or is_passing(path):
        return write_records(path, records())
    from trainer_ext.data.io.partial import partial_output

    with (
        partial_output(path, identity_of(predictor, options), options.resume) as output,
        # Closed first also if the run is interrupted, and the bar with it: what is kept is said below the bar.
        closing(records(output.rows)) as rows,
    ):
        output.write(rows, predictor.window_size)
    return output.rows


def identity_of(predictor: "Predictor", options: PredictOptions) -> Callable[[], dict]:
    """Return what tells on which model, rows and flags the answers depend."""
    from trainer_ext.inference.identity import answers_identity

    form = {f"--{name}": getattr(options, name) for name in FORM_FLAGS}
    assert options.input is not None
    return partial(answers_identity, predictor, options.input, options.submission_format, form)


def answers(
    predictor: "Predictor",
    options: PredictOptions,
    id_column: str | None,
    done: int = 0,
) -> Iterator[dict]:
    """Answer row by row, in order, behind the rows that are done."""
    from trainer_ext.inference.job import Form, answer_rows, rows_of

    rows = rows_of(
        predictor,
        options.text,
        options.input,
        labelled=options.evaluate,
        options=file_options(options),
    )
    form = Form(not options.no_text, tuple(options.keep_columns), options.labels_only)
    return answer_rows(predictor, rows, options.text_column, id_column, form, done)


def progress(items: Iterable[Item], done: int = 0) -> Iterable[Item]:
    """Show a progress bar on standard error."""
    from tqdm import tqdm

    bar: Iterable[Item] = tqdm(items, desc="predicting", unit="row", mininterval=0.5, initial=done)
    return bar


def evaluate(predictor: "Predictor", options: PredictOptions) -> None:
    """Score the model on labelled rows; imports the metric libraries only now."""
    from trainer_ext.data.labelled import labelled_rows, texts_and_labels
    from trainer_ext.evaluation.scoring import score
    from trainer_ext.files import write_json
    from trainer_ext.reports.tables import metrics_table

    assert options.input is not None
    # A model knows its columns, which may be called otherwise in another file.
    pipeline = predictor.pipeline.with_columns(options.text_column, options.label_columns)
    task = pipeline.task
    text_column = pipeline.text_column
    columns = task.label_space.columns
    labelled = labelled_rows(
        options.input, task, text_column, columns, file_options(options), hint=EVALUATED_COLUMNS
    )
    # Metrics look at all rows together, so these are kept, unlike those that are only answered.
    rows = list(labelled)
    if not rows:
        raise UserError(f"{options.input} is empty: it has no rows")
    scores = score(predictor, *texts_and_labels(rows, text_column, task))["metrics"]
    metrics = {f"eval_{name}": value for name, value in scores.items()}
    path = metrics_path(options.output, options.input)
    write_json(path, metrics)
    # With `--output -` standard output holds answers and nothing else.
    place = sys.stderr if options.output == "-" else sys.stdout
    # Whichever split the file is: the keys say `eval`, as those of any scored file.
    shown = metrics_table(metrics, {"eval_": name_of(options.input)})
    print(f"\n{shown}\n\nWritten to {path}", file=place)


def name_of(source: str) -> str:
    """Return what the column of a file's metrics is headed by: its name, or that it is standard input."""
    if source == "-":
        return "standard input"
    return Path(source).name
