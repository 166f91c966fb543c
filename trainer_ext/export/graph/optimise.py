"""The passes over an exported graph, each checked, each undone if it changes an answer."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer_ext.errors import describe_error
from trainer_ext.export.graph.attention import fuse_attention
from trainer_ext.export.graph.check import (
    Example,
    NotRunnable,
    example_of,
    run,
    why_different,
)
from trainer_ext.export.graph.first_token import keep_first_token
from trainer_ext.export.graph.fold import fold_constants
from trainer_ext.export.graph.mask import simplify_masks
from trainer_ext.export.graph.onnx_graph import Graph, load_graph
from trainer_ext.export.graph.scale import fold_scales
from trainer_ext.export.graph.siblings import join_siblings
from trainer_ext.export.graph.transposes import join_transposes

# A pass changes a graph and returns in how many places.
Pass = Callable[[Graph], int]

# In the order in which they run: later ones find what earlier ones made plain.
PASSES: dict[str, Pass] = {
    "constants": fold_constants,
    "transposes": join_transposes,
    "scale": fold_scales,
    "first_token": keep_first_token,
    "qkv": join_siblings,
    "mask": simplify_masks,
}
# Operators that ONNX Runtime has since 1.23 and other runtimes may not: for the file that ONNX Runtime serves.
RUNTIME_PASSES: dict[str, Pass] = {"attention": fuse_attention}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PassResult:
    """What one pass did.

    Attributes:
        name: of the pass.
        changed: how many places it changed.
        reason: why it changed none.
    """

    name: str
    changed: int
    reason: str = ""


@dataclass
class GraphReport:
    """What the passes did, in their order."""

    passes: list[PassResult] = field(default_factory=list)

    def to_dict(self) -> dict[str, int | str]:
        """Return for each pass the number of places it changed, or why none."""
        return {each.name: each.reason or each.changed for each in self.passes}


def optimise_graph(source: Path, target: Path, skip: Collection[str] = ()) -> GraphReport:
    """Rewrite a float model so that it runs faster on CPUs, with the same inputs, outputs and answers.

    Only standard ONNX operators are used. After each pass the graph is checked, and its answers to random token ids
    are compared with those before; a pass that changes them is undone.

    Args:
        source: the model as exported.
        target: where the rewritten model goes; may be the source.
        skip: names of passes that are left out.

    Returns:
        What each pass did.
    """
    return apply_passes(PASSES, source, target, skip)


def fuse_for_runtime(source: Path, target: Path, skip: Collection[str] = ()) -> GraphReport:
    """Rewrite an optimised float model further, with operators of opset 23; for the model that is quantised.

    Args and result are those of `optimise_graph`.
    """
    return apply_passes(RUNTIME_PASSES, source, target, skip)


def apply_passes(
    passes: dict[str, Pass],
    source: Path,
    target: Path,
    skip: Collection[str],
) -> GraphReport:
    """Apply one pass after another to the model in `source` and write the result to `target`."""
    graph = load_graph(source)
    report = GraphReport()
    with TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch)
        try:
            example = example_of(graph, folder)
            graph.observe(example.shapes)
        except NotRunnable as error:
            reason = f"the graph cannot be checked: {error}"
            report.passes = [PassResult(name, 0, reason) for name in passes]
            graph.save(target)
            return report
        for name, change in passes.items():
            if name in skip:
                report.passes.append(PassResult(name, 0, "skipped"))
                continue
            graph, result = apply_pass(name, change, graph, example, folder)
            report.passes.append(result)
            logger.info("graph %s: %s", name, result.reason or f"{result.changed} places")
        graph.save(target)
    return report


def apply_pass(
    name: str,
    change: Pass,
    graph: Graph,
    example: Example,
    folder: Path,
) -> tuple[Graph, PassResult]:
    """Return the changed graph, or the graph as it was if the pass finds nothing or breaks something."""
    changed = graph.copy()
    try:
        places = change(changed)
    except Exception as error:
        # A graph that the pass did not expect: the model is still good as it is.
        logger.debug("graph %s", name, exc_info=True)
        return graph, PassResult(name, 0, f"undone: {describe_error(error)}")
    if not places:
        return graph, PassResult(name, 0, "nothing to change")
    try:
        found = run(changed, example.feeds, folder)
    except NotRunnable as error:
        return graph, PassResult(name, 0, f"undone: {error}")
    why = why_different(changed, example, found)
    if why:
        return graph, PassResult(name, 0, f"undone: {why}")
    changed.observe(found.shapes)
    return changed, PassResult(name, places)
