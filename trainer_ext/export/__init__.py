"""Checkpoint to ONNX and INT8, through a gate that proves them equal.

The package is callable: `from trainer_ext import export; export("runs/topics", "onnx")`.
"""

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import Unpack

from trainer_ext.arguments.keywords import ReadingKeywords

if TYPE_CHECKING:
    from trainer_ext.export.report import ExportReport, MembersReport


def export(
    model: str | Path,
    output_dir: str | Path,
    *,
    eval_file: str | Path | None = None,
    task: str | None = None,
    text_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    max_metric_drop: float = 0.5,
    max_eval_samples: int | None = None,
    benchmark: bool = False,
    exporter: str = "auto",
    skip: Sequence[str] = (),
    also: Sequence[str] = (),
    layout: str = "flat",
    unlabelled_file: str | Path | None = None,
    trust_remote_code: bool = False,
    **file_flags: Unpack[ReadingKeywords],
) -> "ExportReport | MembersReport":
    """Export a model to ONNX and INT8, and prove both on labelled rows, as `python export.py` does.

    Args:
        model: a checkpoint, a folder of folds or seeds, artifact:NAME:ALIAS or wandb:ENTITY/PROJECT/NAME:ALIAS.
        output_dir: gets model.onnx, model_quantized.onnx, tokenizer, config.json and export_report.json; of a folder of
            folds a folder for each model.
        eval_file: labelled rows for the gate; None: the rows the checkpoint was chosen on.
        task: what a checkpoint of plain transformers predicts, if its config.json does not say.
        text_column, label_columns: of `eval_file`; None: as in the training (a plain checkpoint: `text`, `label`).
        max_metric_drop: largest drop of the task's metric allowed for INT8, in points.
        max_eval_samples: use only the first rows; None: all.
        benchmark: measure latency, throughput and memory beside PyTorch and plain exports (`benchmark.json`, and
            `report.benchmark`).
        exporter: what writes the ONNX file: `optimum`, `torch`, or `auto`, Optimum if it can.
        skip: stages and passes to leave out (docs/export.md lists them).
        also: optional stages to run.
        layout: `flat`, or `hub`: the models in `output_dir/onnx`, where transformers.js and the Hub look for them.
        unlabelled_file: texts on which INT8 is compared as well; None: those of the training file, if it is there.
        trust_remote_code: run code shipped with the checkpoint.
        **file_flags: how `eval_file` is written (`encoding`, `delimiter`, ...), as for `train.py`.

    Returns:
        The report. `report.passed` tells whether every variant is good, `report.chosen` which one to use; of a folder
        of folds `report.models` has the report on each model.

    Raises:
        UserError: if the model cannot be loaded or exported, there are no rows to prove it on, or a keyword does not
            exist.

    Example:
        >>> from trainer_ext import export, load_predictor
        >>> report = export("outputs/films", "outputs/films-onnx")
        >>> [variant.name for variant in report.variants]
        ['pytorch', 'onnx', 'int8']
        >>> predictor = load_predictor("outputs/films-onnx")
        >>> predictor.predict(["a good film"])[0]["label"] in ("positive", "negative")
        True
    """
    # Inside the function: importing the package must not load torch.
    from trainer_ext.arguments.files import FileOptions
    from trainer_ext.arguments.recipe import check_known
    from trainer_ext.errors import UserError
    from trainer_ext.export.members import export_members
    from trainer_ext.export.options import ExportOptions
    from trainer_ext.export.run import export_model
    from trainer_ext.inference.loading import locate
    from trainer_ext.inference.members import members_of

    # As `fit` names them: a TypeError would be about a class that the caller has never heard of.
    # The parameters are known as well: one of them may be what a misspelt keyword meant.
    keywords = {*inspect.signature(export).parameters, *ReadingKeywords.__annotations__}
    check_known(file_flags, keywords - {"file_flags"}, "keyword {}")
    if eval_file is not None and not isinstance(eval_file, (str, Path)):
        kind = type(eval_file).__name__
        raise UserError(f"eval_file: expected the path of a file with labelled rows, got {kind}")
    folder = Path(locate(str(model)))
    options = ExportOptions(
        model=folder,
        output_dir=Path(output_dir),
        eval_file=str(eval_file) if eval_file is not None else None,
        task=task,
        text_column=text_column,
        label_columns=tuple(label_columns) if label_columns else None,
        max_metric_drop=max_metric_drop,
        max_eval_samples=max_eval_samples,
        benchmark=benchmark,
        layout=layout,
        trust_remote_code=trust_remote_code,
        exporter=exporter,
        skip=tuple(skip),
        also=tuple(also),
        unlabelled_file=str(unlabelled_file) if unlabelled_file is not None else None,
        files=FileOptions(**cast(dict[str, Any], file_flags)),
    )
    members = [Path(name) for name in members_of(str(folder))]
    if members == [folder]:
        return export_model(options)
    return export_members(options, members)


class CallablePackage(ModuleType):
    """Let `trainer_ext.export` be called.

    As soon as anything imports `trainer_ext.export.run`, Python binds the name `export` in `trainer_ext` to this
    package, whatever it was before. So the package itself has to be the function.
    """

    __call__ = staticmethod(export)
    # Otherwise `inspect` takes the first argument for a `self`.
    __signature__ = inspect.signature(export)


sys.modules[__name__].__class__ = CallablePackage
