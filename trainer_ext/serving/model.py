"""The models that a server answers with: loaded, checked against their probe rows, and replaced while it runs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from threading import Lock
from typing import Any

from trainer_ext.errors import UserError
from trainer_ext.inference import Predictor, load_predictor
from trainer_ext.inference.identity import files_sha256
from trainer_ext.inference.layout import find_file
from trainer_ext.inference.probe import read_probe
from trainer_ext.inference.providers import PROVIDERS
from trainer_ext.inference.proving import variant_of
from trainer_ext.inference.single import SinglePredictor
from trainer_ext.serving.batching import Batcher
from trainer_ext.serving.documents import read_documents
from trainer_ext.serving.limits import Limits
from trainer_ext.serving.metrics import Metrics
from trainer_ext.serving.sources import Source

# The least good first.
VERDICTS = ("differs", "unknown", "proven")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeVerdict:
    """What the probe rows of an export say on this machine.

    Attributes:
        file: that was run.
        rows: how many were run; 0: the model has none.
        verdict: `proven`, `differs` or `unknown` (no probe rows).
        difference: how far beyond its tolerance, in words; empty if it is within.
    """

    file: str
    rows: int
    verdict: str
    difference: str = ""


def check_probe(single: SinglePredictor) -> ProbeVerdict:
    """Run all probe rows of a model's folder, those that loading leaves out included."""
    file_name = single.session.file_name
    folder = single.files[0].parent
    file = find_file(folder, file_name)
    probe = read_probe(folder)
    variant = variant_of(folder, file)
    if probe is None or not probe.covers(variant):
        return ProbeVerdict(file_name, 0, "unknown")
    mismatch = probe.check(single, variant, every_row=True)
    if mismatch is None:
        return ProbeVerdict(file_name, len(probe.rows), "proven")
    return ProbeVerdict(file_name, len(probe.rows), "differs", str(mismatch))


class ServedModel:
    """One loaded model with its queue.

    Args:
        source: of the model.
        predictor: with all its models in memory.
        verdicts: of the probe rows of each.
        batcher: answers for it.
    """

    def __init__(
        self,
        source: Source,
        predictor: Predictor,
        verdicts: Sequence[ProbeVerdict],
        batcher: Batcher,
    ):
        self.name = source.name
        self.source = source
        self.predictor = predictor
        self.task = predictor.task
        self.verdicts = verdicts
        self.batcher = batcher
        self.version = files_sha256(predictor.files)
        self.documents = read_documents(predictor)
        self.loaded_at = datetime.now(timezone.utc).isoformat(timespec="seconds")

    @property
    def providers(self) -> list[str]:
        """Return where it runs, in ONNX Runtime's words."""
        found = {single.session.provider for single in self.predictor.singles}
        return sorted(PROVIDERS.get(name, name) for name in found)

    @property
    def max_length(self) -> int:
        """Return how many tokens of a text it reads, special tokens included."""
        return self.predictor.pipeline.max_length

    @property
    def verdict(self) -> str:
        """Return the probe verdict that is least good among its models."""
        # One model that answers otherwise spoils an ensemble.
        found = {verdict.verdict for verdict in self.verdicts}
        return next(word for word in VERDICTS if word in found)

    def info(self) -> dict[str, Any]:
        """Return what `/info` says of it."""
        space = self.task.label_space
        return {
            "name": self.name,
            "source": self.source.path,
            "version": self.version,
            "loaded_at": self.loaded_at,
            "task": self.task.name,
            "classes": list(getattr(space, "classes", ())),
            "columns": list(space.columns),
            "max_length": self.max_length,
            "runs": self.predictor.description,
            "providers": self.providers,
            "callers": self.batcher.callers,
            "probe": [vars(verdict) for verdict in self.verdicts],
        }


def load_model(
    source: Source,
    load: Callable[[str], Predictor],
    limits: Limits,
    metrics: Metrics,
    on_mismatch: str,
) -> ServedModel:
    """Load a model, check its probe rows, and start its threads.

    Args:
        source: of the model.
        load: `load_predictor` with everything but the path.
        limits: of the server.
        metrics: of the server.
        on_mismatch: `ignore` serves a model all the same that answers otherwise than was proven.

    Raises:
        UserError: if it cannot be loaded, does not fit into memory, or answers otherwise.
    """
    predictor = load(source.path)
    # A server holds its models in memory; loading them for each request would take seconds.
    if not predictor.singles:
        raise UserError(
            f"model {source.path}: its models do not fit into memory together, and would be loaded anew for each "
            "request; serve their soup, or one of them"
        )
    verdicts = list(map(check_probe, predictor.singles))
    for verdict in verdicts:
        # Wrong answers are worse than no start.
        if verdict.verdict == "differs" and on_mismatch != "ignore":
            raise UserError(
                f"model {source.path}: {verdict.file} answers otherwise on this machine than was proven, "
                f"{verdict.difference}; --on_mismatch ignore serves it all the same"
            )
    served = ServedModel(
        source, predictor, verdicts, Batcher(source.name, predictor, limits, metrics)
    )
    logger.info("%s: %s, %s", source.name, served.task.name, predictor.description)
    return served


class Models(Mapping[str, ServedModel]):
    """The served models by name; the first is the one that requests get if they name none.

    Args:
        sources: of the models.
        settings: arguments of `load_predictor`.
        limits: of the server.
        metrics: of the server.

    Raises:
        UserError: if one cannot be loaded.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        settings: Mapping[str, Any],
        limits: Limits,
        metrics: Metrics,
    ):
        self.limits = limits
        self.metrics = metrics
        self._load = partial(
            load_model,
            load=partial(load_predictor, **settings),
            limits=limits,
            metrics=metrics,
            on_mismatch=settings["on_mismatch"],
        )
        self._reloading = Lock()
        self._models: dict[str, ServedModel] = {}
        for source in sources:
            self._models[source.name] = self._load(source)

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Any:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def first(self) -> ServedModel:
        """Return the model that requests get if they name none."""
        return next(iter(self._models.values()))

    @property
    def are_alive(self) -> bool:
        """Tell whether every model can answer."""
        return all(model.batcher.is_alive for model in self._models.values())

    def reload(self) -> None:
        """Load every model anew; each takes over once it is checked, and the old one answers what it has accepted.

        A model that cannot be loaded is not replaced.
        """
        with self._reloading:
            for name, old in list(self._models.items()):
                try:
                    new = self._load(old.source)
                # Whatever is wrong with the new files, the old model goes on.
                except Exception as error:
                    self.metrics.reloads.labels(name, "failed").inc()
                    logger.error("%s is not replaced: %s", name, error)
                    continue
                # From here on requests get the new one; those accepted before hold the old one.
                self._models[name] = new
                self.metrics.reloads.labels(name, "done").inc()
                logger.info("%s: version %.12s replaces %.12s", name, new.version, old.version)
                old.batcher.close()

    def close(self) -> None:
        """Answer what was accepted, then end all threads."""
        for model in self._models.values():
            model.batcher.close()
