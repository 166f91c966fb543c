"""Model cards: README.md with the metadata that the Hugging Face Hub reads, from a Jinja2 template."""

import math
import re
import shlex
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, try_to_load_from_cache
from huggingface_hub.repocard import metadata_load
from huggingface_hub.utils import HFValidationError, validate_repo_id

from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.parser import resolved, yaml_of
from trainer_ext.characters import on_screen
from trainer_ext.files import write_text
from trainer_ext.redaction import public
from trainer_ext.reports.tables import code_span, is_of_one_class, longest_run, table
from trainer_ext.tasks import Task

LIBRARY = "trainer-ext"
PIPELINE_TAG = "text-classification"
# `library_name` first: by it runs/output_dir.py knows a card from a README.md that somebody else wrote.
ORDER = ["library_name", "pipeline_tag", "tags", "base_model", "datasets", "language", "license"]
ORDER += ["metrics", "model_name", "eval_results"]
IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.-]{0,60}", re.ASCII)


def plain(text: str) -> str:
    """Escape a text for Markdown, so that nothing in it is markup, HTML or a new line."""
    return re.sub(r"([\\`*_\[\]<>&|~#])", r"\\\1", on_screen(text))


def fenced(text: str, language: str) -> str:
    """Return a text as a code block of a language."""
    # A line of backticks would end a block that began with as many of them.
    fence = "`" * max(3, longest_run("`", text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def counted(items: Sized, noun: str) -> str:
    """Return `1 target` or `2 targets`."""
    number = len(items)
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("trainer_ext.reports"),
    undefined=jinja2.StrictUndefined,  # a misspelt name is an error, not a gap in the card
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.filters |= {
    "code": code_span,
    "counted": counted,
    "fenced": fenced,
    "plain": plain,
    "python": repr,
    "shell": shlex.quote,
}


def render_card(template: str, metadata: ModelCardData, **values: Any) -> str:
    """Return a card from a file of `templates/`, with its metadata as YAML between two lines of `---`.

    Args:
        template: name of the file.
        metadata: for the Hub; checked without a connection.
        values: what the template refers to. Texts from data go through one of its filters (`code`, `plain`, `fenced`,
            `shell`), or they could be markup.

    Raises:
        jinja2.UndefinedError: if the template refers to something else.
    """
    header = metadata.to_yaml(original_order=ORDER)
    text = TEMPLATES.get_template(template).render(metadata=header, **values)
    return str(ModelCard(text))


@dataclass(frozen=True)
class ModelFacts:
    """What the card of one model is made of.

    Attributes:
        folder: of the run.
        args: its flags.
        task: of the model.
        metrics: content of metrics.json.
        rows: their number by split.
        is_best: whether the weights are those of the best checkpoint, not of the last step.
        intervals: 95% bounds over the rows of a split, by the name of a metric in metrics.json.
        pipeline: the model's own record of its data: hashes and versions.
    """

    folder: Path
    args: Arguments
    task: Task
    metrics: Mapping[str, Any]
    rows: Mapping[str, int]
    is_best: bool
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    pipeline: Mapping[str, Any] = field(default_factory=dict)


def write_model_card(facts: ModelFacts) -> None:
    """Write README.md: what the model does, how good it is, on what it was trained, how to use it."""
    write_text(facts.folder / "README.md", model_card(facts, str(facts.folder)))


def model_card(facts: ModelFacts, place: str, is_public: bool = False) -> str:
    """Return the card of one model.

    Args:
        facts: what it says.
        place: how its commands name the model's folder.
        is_public: whether others read it: then nothing in it leads to a place on this machine.
    """
    args, task, rows = facts.args, facts.task, facts.rows
    scores = {}
    for name, value in facts.metrics.items():
        prefix, _, metric = name.partition("_")
        # One score for each of many aspects would hide the others.
        if prefix in ("eval", "test") and not metric.startswith("f1_macro_"):
            scores[name] = value
    chosen_by = args.training.metric_for_best_model or task.default_metric
    space = task.label_space
    # Without the `B-` and `I-` of a tag; nothing is left of `O`.
    slots = {tag[2:] for tag in getattr(space, "tags", ())} - {""}
    by_split = {"validation": scores_of("eval", scores), "test": scores_of("test", scores)}
    values = resolved(args)
    return render_card(
        "model_card.md.jinja",
        card_metadata(facts.folder, args, by_split),
        name=card_name(facts.folder),
        task=task.name,
        classes=space.classes,
        columns=space.columns,
        class_word=task.class_word,
        slots=sorted(slots),
        precision=args.training.precision,
        rows=rows,
        step=facts.metrics["best_step"],
        chosen_by=chosen_by if facts.is_best else None,
        metrics=table(metric_rows(scores, facts.intervals), ["metric", "value", "95% over rows"]),
        data=table(data_rows(facts), ["split", "source", "rows", "sha256 of texts and labels"]),
        encoder_license=one_identifier(metadata_of(args.model.model_name_or_path).get("license")),
        folder=place,
        recipe=yaml_of(public(values) if is_public else values),
        recipe_file=str(Path(place) / "resolved_config.yaml"),
    )


def metric_rows(
    scores: Mapping[str, Any],
    intervals: Mapping[str, tuple[float, float]],
) -> list[list[Any]]:
    """Return name, value and interval of each score."""
    rows = []
    for name, value in scores.items():
        bounds = ""
        if name in intervals:
            low, high = intervals[name]
            bounds = f"{low:.4f} to {high:.4f}"
        rows.append([name, value, bounds])
    return rows


def data_rows(facts: ModelFacts) -> list[list[Any]]:
    """Return split, source, rows and hash of what the model was trained and scored on."""
    data = facts.args.data
    rows = []
    for split in ("train", "validation", "test"):
        count = facts.rows.get(split)
        if not count:
            continue
        source = getattr(data, f"{split}_file") or data.dataset_name or data.train_file or ""
        # The name alone: where a file lies is nobody's business, and tells nobody anything.
        shown = source if is_hub_name(source) else Path(source).name
        sha256 = facts.pipeline.get(f"{split}_data_sha256") or ""
        rows.append([split, shown, count, sha256])
    return rows


def scores_of(prefix: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics whose name has this prefix, without it."""
    scores = {}
    for name, value in metrics.items():
        first, _, metric = name.partition("_")
        if first == prefix:
            scores[metric] = value
    return scores


def card_name(folder: Path) -> str:
    """Return what the model of a folder is called."""
    return folder.resolve().name or "model"


def card_metadata(
    folder: Path,
    args: Arguments,
    scores: Mapping[str, Mapping[str, Any]],
) -> ModelCardData:
    """Return what the Hub shows of a model and finds it by.

    Args:
        folder: of the run; its name is the model's.
        args: say what was trained, on what.
        scores: metrics by split.
    """
    results = eval_results(args, scores)
    encoder = args.model.model_name_or_path
    of_encoder = metadata_of(encoder)
    datasets = None
    if args.data.dataset_name and is_hub_name(args.data.dataset_name):
        datasets = [args.data.dataset_name]
    return ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=PIPELINE_TAG,
        tags=[args.data.task],
        # Not a local folder: the Hub would make a link of it.
        base_model=encoder if is_hub_name(encoder) else None,
        datasets=datasets,
        # An encoder of several languages does not say which one the training rows are in.
        language=one_identifier(of_encoder.get("language")),
        license=one_identifier(of_encoder.get("license")),
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=on_screen(card_name(folder)),
        eval_results=results or None,
    )


def eval_results(args: Arguments, scores: Mapping[str, Mapping[str, Any]]) -> list[EvalResult]:
    """Return the scores for the `model-index` of the Hub, without the loss and those of single classes."""
    source = args.data.dataset_name or args.data.train_file or "unknown"
    dataset_type = "custom"
    if is_hub_name(args.data.dataset_name):
        dataset_type = source
    results = []
    for split, metrics in scores.items():
        for name, value in metrics.items():
            # The Hub takes no metadata with NaN in them.
            is_score = isinstance(value, (int, float)) and math.isfinite(value)
            if not is_score or name == "loss" or is_of_one_class(name):
                continue
            results.append(
                EvalResult(
                    task_type=PIPELINE_TAG,
                    dataset_type=dataset_type,
                    dataset_name=on_screen(Path(source).name),
                    dataset_split=split,
                    metric_type="f1" if name.startswith("f1_") else name,
                    metric_name=name,
                    metric_value=round(value, 6),
                )
            )
    return results


def is_hub_name(name: str | None) -> bool:
    """Return whether a model or data set comes from the Hub, not from a file or folder of this machine."""
    # A folder such as `outputs/model` has the form of a name on the Hub.
    if name is None or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def metadata_of(encoder: str | None) -> dict[str, Any]:
    """Return the metadata of an encoder's own card; empty unless the card is on this machine."""
    if encoder is None:
        return {}
    try:
        card: Any = Path(encoder) / "README.md"
        if not Path(encoder).is_dir():
            card = try_to_load_from_cache(encoder, "README.md")
        if not isinstance(card, (str, Path)):  # not in the cache, or known not to exist
            return {}
        return metadata_load(card) or {}
    except (OSError, ValueError, yaml.YAMLError):  # whoever wrote it, a card is never worth a run
        return {}


def one_identifier(value: Any) -> str | None:
    """Return a language code or licence id; None for several, and for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and IDENTIFIER.fullmatch(value):
        return value
    return None
