"""From a name to something that answers: `load_predictor` for any models, `load_single` for one folder."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from trainer_ext.data.preprocessing.plain_checkpoint import is_plain
from trainer_ext.errors import UserError, check_range
from trainer_ext.files import read_json
from trainer_ext.inference.folder import (
    files_of,
    model_file,
    read_pipeline,
    read_report,
    read_tokenizer,
    recorded_dynamic_int8,
)
from trainer_ext.inference.members import expand_braces, members_of
from trainer_ext.inference.memory import free_memory, model_size
from trainer_ext.inference.native import open_native
from trainer_ext.inference.onnx_session import OnnxSession
from trainer_ext.inference.ort_format import prepared_file
from trainer_ext.inference.predictor import Predictor
from trainer_ext.inference.providers import check_provider
from trainer_ext.inference.proving import ON_MISMATCH, accept_native, load_proven
from trainer_ext.inference.session import Session
from trainer_ext.inference.single import SinglePredictor

ModelName = str | os.PathLike[str]
RUNTIMES = ("auto", "native", "onnx")
EXPORTED_SUFFIXES = (".onnx", ".ort")


def load_predictor(
    path: ModelName | Sequence[ModelName],
    num_threads: int | None = None,
    provider: str = "auto",
    batch_size: int = 8,
    file_name: str | None = None,
    ensemble: str | None = None,
    memory: int | None = None,
    trust_remote_code: bool = False,
    task: str | None = None,
    runtime: str = "auto",
    on_mismatch: str = "float",
) -> Predictor:
    """Load a checkpoint, an ONNX folder, a folder of folds or seeds, or a list of any of these.

    Args:
        path: folders written by `train.py` or `export.py` (or by `AutoModelForSequenceClassification`),
            artifact:NAME:ALIAS of the local store, or wandb:ENTITY/PROJECT/NAME:ALIAS; `name-{0..4}` stands for name-0
            to name-4.
        num_threads: None: the cores this process may use.
        provider: tensorrt, cuda, openvino or cpu; auto: the first of these that there is. Dynamic INT8 runs on the CPU.
        batch_size: rows in one run.
        file_name: which ONNX file; None: the one the export report chose.
        ensemble: how several models answer together: mean (of probabilities, or scores; the default), logits, vote or
            weighted (weights fitted on the out-of-fold predictions: of one folder those in its cv.json, of several by
            their oof.csv).
        memory: bytes that the models may take together; if they need more, they are loaded one after another for each
            window of rows. None: half of what is free.
        trust_remote_code: whether code that a checkpoint brings may be run.
        task: what a checkpoint of plain transformers predicts, if its config.json does not say.
        runtime: what runs an INT8 file: native (compiled for this CPU), onnx (ONNX Runtime), or auto: native where the
            export and the CPU allow it.
        on_mismatch: if an export answers its probe rows otherwise on this machine than was proven: float (answer with
            its float model, and say so), error, or ignore (say so only).

    Returns:
        A predictor: `predict(texts)` returns a list of answers, `predict_iter(texts)` yields them one by one.

    Raises:
        UserError: if a folder is not there, not a model, or broken, if models do not fit together, or for a value that
            an argument does not take.

    Example:
        >>> from trainer_ext import load_predictor
        >>> predictor = load_predictor("outputs/films-onnx", num_threads=1)
        >>> (answer,) = predictor.predict(["a good film"])
        >>> sorted(answer)
        ['label', 'probabilities', 'score']
        >>> texts = (f"film number {number}" for number in range(1000))  # any iterable, of any length
        >>> next(predictor.predict_iter(texts))["label"] in ("positive", "negative")
        True
    """
    if ensemble is not None:
        check_way(ensemble)
    check_arguments(num_threads, provider, file_name, runtime, on_mismatch)
    names = model_names(path)
    load = partial(
        load_single,
        num_threads=num_threads,
        provider=provider,
        batch_size=batch_size,
        file_name=file_name,
        trust_remote_code=trust_remote_code,
        task=task,
        runtime=runtime,
        on_mismatch=on_mismatch,
    )
    if len(names) == 1:
        if ensemble is not None:
            raise UserError(
                f"ensemble {ensemble} is for several models, but there is only {names[0]}"
            )
        return load(names[0])
    # Late, as most predictors are one model, and a single text should not wait for the rest.
    from trainer_ext.inference.ensemble import EnsemblePredictor

    loaders: list[Callable[[], SinglePredictor]] = []
    needed = 0
    for name in names:
        loaders.append(partial(load, name))
        needed += model_size(Path(name), file_name)
    # Half: a session takes more than its file, and others may need memory, too.
    available = free_memory() / 2 if memory is None else memory
    # Fitted before the models are loaded, as it may find that they do not belong together.
    weights = None
    if ensemble == "weighted":
        from trainer_ext.inference.weights import ensemble_weights

        weights = ensemble_weights(names)
    return EnsemblePredictor(names, loaders, ensemble or "mean", weights, needed <= available)


def check_way(ensemble: str) -> None:
    """Raise `UserError` for a way of answering together that there is not."""
    from trainer_ext.inference.combine import WAYS

    if ensemble not in WAYS:
        raise UserError(f"ensemble {ensemble!r} is not one of {', '.join(WAYS)}")


def check_arguments(
    num_threads: int | None, provider: str, file_name: str | None, runtime: str, on_mismatch: str
) -> None:
    """Raise `UserError` for a value that does not exist, and for two that contradict each other."""
    if num_threads is not None:
        check_range("num_threads", num_threads, 1)
    check_provider(provider)
    if runtime not in RUNTIMES:
        raise UserError(f"runtime {runtime!r} is not one of {', '.join(RUNTIMES)}")
    if on_mismatch not in ON_MISMATCH:
        raise UserError(f"on_mismatch {on_mismatch!r} is not one of {', '.join(ON_MISMATCH)}")


def model_names(path: ModelName | Sequence[ModelName]) -> list[str]:
    """Return the folders of all models that `path` stands for."""
    given = [path] if isinstance(path, (str, os.PathLike)) else path
    names: list[str] = []
    for item in given:
        for name in expand_braces(str(item)):
            names += members_of(locate(name))
    if not names:
        raise UserError("no model: give at least one")
    return names


def locate(name: str) -> str:
    """Return the folder of a model that is named by a reference; any other name as it is."""
    if not name.startswith(("artifact:", "wandb:")):
        return name
    from trainer_ext.tracking.artifacts.resolve import resolve_model  # a folder needs no store

    return str(resolve_model(name))


def load_single(
    path: str | Path,
    num_threads: int | None = None,
    provider: str = "auto",
    batch_size: int = 8,
    file_name: str | None = None,
    trust_remote_code: bool = False,
    task: str | None = None,
    runtime: str = "auto",
    on_mismatch: str = "float",
) -> SinglePredictor:
    """Load one checkpoint or export.

    Args:
        path: folder written by `train.py` or `export.py`, or by plain transformers.
        num_threads: None: the cores this process may use.
        provider: as for `load_predictor`.
        batch_size: rows in one run.
        file_name: which file of an export; None: the one its report chose.
        trust_remote_code: whether code that a checkpoint brings may be run.
        task: what a checkpoint of plain transformers predicts, if its config.json does not say.
        runtime: one of `RUNTIMES`.
        on_mismatch: one of `ON_MISMATCH`.

    Raises:
        UserError: if the folder is not there, not a model, or broken.
    """
    folder = Path(path)
    pipeline = read_pipeline(folder, task)
    file = model_file(folder, file_name)
    if file.suffix not in EXPORTED_SUFFIXES:
        from trainer_ext.modeling.session import TorchSession  # an export needs no torch

        session = TorchSession(folder, num_threads, provider, trust_remote_code)
        checkpoint = SinglePredictor(session, checkpoint_tokenizer(folder), pipeline, batch_size)
        checkpoint.files = files_of(folder, session.file_name)
        return checkpoint
    tokenizer = read_tokenizer(folder)

    def predictor_of(session: Session) -> SinglePredictor:
        predictor = SinglePredictor(session, tokenizer, pipeline, batch_size)
        predictor.files = files_of(folder, session.file_name)
        return predictor

    def load(file: Path, own_provider: str | None) -> SinglePredictor:
        dynamic_int8 = recorded_dynamic_int8(file)
        return predictor_of(OnnxSession(file, num_threads, own_provider or provider, dynamic_int8))

    if runtime != "onnx":
        native = open_native(file, num_threads, provider, is_needed=runtime == "native")
        if native is not None:
            proven = accept_native(folder, file, predictor_of(native), runtime == "native")
            if proven is not None:
                return proven
    if not file_name:
        file = prepared_file(file, read_report(folder))
    return load_proven(folder, file, load, on_mismatch)


def checkpoint_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a checkpoint, converted if it only has a vocabulary in an older form.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    if not is_plain(read_json(folder / "config.json")):
        return read_tokenizer(folder)
    if (folder / "tokenizer.json").is_file():
        read_tokenizer(folder)  # names the file if it is damaged
    from trainer_ext.modeling.plain import plain_tokenizer

    return plain_tokenizer(folder).tokenizer
