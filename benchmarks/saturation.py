"""Show where 8-bit products overflow, and that pair-safe weights overflow nowhere: `python benchmarks/saturation.py`.

Three kinds of random weights (K x N, normally distributed) are multiplied with activations that are all 255, random, or
0 and 255, for several K, N and numbers of rows: plain 8 bits a channel, 7 bits (`reduce_range`), and pair-safe ones.
The table has their squared error over that of plain ones, the pairs that could overflow, and the integers that
onnxruntime computes wrongly, on this CPU and, if qemu's user-mode emulator is installed (Debian: `qemu-user`), on
`--cpu`, by default one with AVX2 only. The last column is a simulation of the saturating instruction in numpy.

`--model DIR` adds a whole model (a folder with model.onnx): quantised plainly and pair-safe, it reads `--texts` texts
of random tokens. Emulation is slow: half a minute to start, and some seconds a text.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from trainer_ext.export.int8_weights import is_pair_safe, quantise_pairs
from trainer_ext.tables import table

SHAPES = ((312, 312), (313, 37), (64, 64), (33, 16), (768, 100))
ROWS = (
    1,
    2,
    3,
    4,
    5,
    6,
    16,
    66,
)  # 1 is a kernel of its own; others are blocks of 4 or 6 and a rest
EMULATOR = "qemu-x86_64"


def quantise_channels(weights: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantise plainly: the largest weight of a channel takes `steps` steps."""
    scales = np.abs(weights).max(axis=0) / steps
    return np.rint(weights / scales).astype(np.int8), scales


def all_weights(inputs: int, outputs: int) -> dict[str, tuple[np.ndarray, float]]:
    """Return int8 weights and their squared error, by the name of the method."""
    floats = np.random.default_rng(inputs).normal(size=(inputs, outputs)).astype(np.float32)
    methods = {
        "plain, 8 bits": quantise_channels(floats, 127),
        "plain, 7 bits": quantise_channels(floats, 64),
        "pair-safe": quantise_pairs(floats),
    }
    found = {}
    for name, (weights, scales) in methods.items():
        found[name] = weights, float(((weights * scales - floats) ** 2).sum())
    return found


def all_activations(inputs: int) -> Iterator[np.ndarray]:
    """Yield uint8 activations (rows, inputs)."""
    generator = np.random.default_rng(0)
    for rows in ROWS:
        shape = (rows, inputs)
        yield np.full(shape, 255, np.uint8)
        yield generator.integers(0, 256, shape).astype(np.uint8)
        yield 255 * generator.integers(0, 2, shape).astype(np.uint8)


def saturating_product(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute as `vpmaddubsw` does: neighbouring products are added in 16 bits, and cut off there."""
    odd = weights.shape[0] % 2
    left = np.pad(activations, ((0, 0), (0, odd))).astype(np.int32)
    right = np.pad(weights, ((0, odd), (0, 0))).astype(np.int32)
    product = np.zeros((len(left), right.shape[1]), np.int64)
    for index in range(0, len(right), 2):
        pair = slice(index, index + 2)
        product += np.clip(left[:, pair] @ right[pair], -32768, 32767)
    return product


def product_session(weights: np.ndarray) -> ort.InferenceSession:
    """Return a session of one MatMulInteger."""
    node = helper.make_node("MatMulInteger", ["a", "w"], ["y"])
    a = helper.make_tensor_value_info("a", TensorProto.UINT8, [None, len(weights)])
    y = helper.make_tensor_value_info("y", TensorProto.INT32, [None, weights.shape[1]])
    graph = helper.make_graph([node], "g", [a], [y], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def wrong_products() -> dict[str, list[int]]:
    """Return by method: integers that onnxruntime and the simulation compute wrongly, and how many there are."""
    counts: dict[str, list[int]] = {}
    for inputs, outputs in SHAPES:
        for name, (weights, _) in all_weights(inputs, outputs).items():
            session = product_session(weights)
            count = counts.setdefault(name, [0, 0, 0])
            for activations in all_activations(inputs):
                exact = activations.astype(np.int64) @ weights.astype(np.int64)
                count[0] += int((session.run(None, {"a": activations})[0] != exact).sum())
                count[1] += int((saturating_product(activations, weights) != exact).sum())
                count[2] += exact.size
    return counts


def model_logits(folder: Path, texts: int) -> dict[str, np.ndarray]:
    """Return the logits of each file in a folder, for random tokens of lengths as reviews have them."""
    found = {}
    for path in sorted(folder.glob("*.onnx")):
        # Without `session.x64quantprecision`, whatever the file says.
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        generator = np.random.default_rng(0)
        logits = []
        for _ in range(texts):
            length = int(np.clip(generator.lognormal(np.log(59), 0.45), 5, 128))
            ids = generator.integers(5, 1000, (1, length))
            inputs = {item.name: np.zeros_like(ids) for item in session.get_inputs()}
            inputs["input_ids"] = ids
            if "attention_mask" in inputs:
                inputs["attention_mask"] = np.ones_like(ids)
            logits.append(session.run(None, inputs)[0])
        found[path.stem] = np.concatenate(logits)
    return found


def measure(output: Path, folder: Path | None, texts: int) -> None:
    """Measure on the CPU that runs this, and write an npz file."""
    results = {name: np.array(counts) for name, counts in wrong_products().items()}
    if folder is not None:
        for name, logits in model_logits(folder, texts).items():
            results[f"logits {name}"] = logits
    np.savez(output, **results)


def measure_emulated(cpu: str, output: Path, folder: Path | None, texts: int) -> None:
    """Measure in a process that the emulator runs."""
    command = [EMULATOR, "-cpu", cpu, sys.executable, __file__, "--measure", str(output)]
    command += ["--texts", str(texts)]
    if folder is not None:
        command += ["--model", str(folder)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def quantise_model(folder: Path, target: Path) -> None:
    """Write the float model, and INT8 without and with pair-safe weights, into `target`."""
    from trainer_ext.export.quantise import (
        Int8Setting,
        quantise,
    )  # needs more than emulation should load

    for name in ("model.onnx", "config.json"):
        shutil.copy(folder / name, target / name)
    for name, skip in (("plain", ("exact_weights",)), ("pair-safe", ())):
        path = quantise(target / "model.onnx", target, Int8Setting(name), skip)
        path.rename(target / f"{name}.onnx")


def print_products(here: dict[str, np.ndarray], there: dict[str, np.ndarray] | None) -> None:
    """Print the table of the products."""
    errors: dict[str, float] = {}
    unsafe: dict[str, bool] = {}
    for inputs, outputs in SHAPES:
        for name, (weights, error) in all_weights(inputs, outputs).items():
            errors[name] = errors.get(name, 0) + error
            unsafe[name] = unsafe.get(name, False) or not is_pair_safe(weights)
    rows = []
    for name, error in errors.items():
        emulated = "-" if there is None else f"{there[name][0]} of {there[name][2]}"
        relative = f"{error / errors['plain, 8 bits']:.2f}"
        can = "yes" if unsafe[name] else "no"
        wrong, simulated, total = here[name]
        rows.append([name, relative, can, f"{wrong} of {total}", emulated, str(simulated)])
    headers = ["weights", "error", "can overflow", "wrong here", "wrong emulated", "simulated"]
    print(table(rows, headers))


def print_logits(here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> None:
    """Print mean and largest logit differences between the CPUs, and from the float model on this one."""
    reference = here["logits model"]
    rows = []
    for name in ("model", "plain", "pair-safe"):
        own, other = here[f"logits {name}"], there[f"logits {name}"]
        row = [name]
        for difference in (own - reference, other - reference, own - other):
            row += [f"{np.abs(difference).mean():.2g}", f"{np.abs(difference).max():.2g}"]
        rows.append(row)
    headers = ["file", "here: mean", "max", "emulated: mean", "max", "between: mean", "max"]
    print(table(rows, headers))
    print(f"standard deviation of the logits: {reference.std():.2g}")


def main() -> None:
    """Measure here and under emulation, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu", default="Haswell-v4", help="`qemu-x86_64 -cpu help` lists them")
    parser.add_argument("--model", type=Path, help="folder with a float model.onnx")
    parser.add_argument("--texts", type=int, default=10)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, args.model, args.texts)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models = None
        if args.model:
            models = folder / "models"
            models.mkdir()
            quantise_model(args.model, models)
        measure(folder / "here.npz", models, args.texts)
        here = dict(np.load(folder / "here.npz"))
        there = None
        if shutil.which(EMULATOR):
            measure_emulated(args.cpu, folder / "there.npz", models, args.texts)
            there = dict(np.load(folder / "there.npz"))
        else:
            print(f"{EMULATOR} is not installed: only this CPU is measured")
    print_products(here, there)
    if models and there is not None:
        print()
        print_logits(here, there)


if __name__ == "__main__":
    main()
