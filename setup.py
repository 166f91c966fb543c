"""Compile the native CPU runtime, once for each kind of CPU; without a compiler everything else works as well.

All other settings are in setup.cfg.
"""

import platform
import sys

from setuptools import Extension, setup

FOLDER = "trainer_ext/inference/native"
FLAGS = ["-O3", "-std=gnu11", "-fno-math-errno", "-Wall", "-Wextra"]
AVX512 = ["-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512"]
# By name of the library: trainer_ext/inference/native/library.py chooses among them.
TARGETS = {
    "avx2": ["-march=x86-64-v3"],
    "avx_vnni": ["-march=x86-64-v3", "-mavxvnni"],
    "avx512_vnni": AVX512,
    "avx512_bf16": [*AVX512, "-mavx512bf16"],
    "amx_int8": [*AVX512, "-mamx-tile", "-mamx-int8"],
}


def extensions() -> list[Extension]:
    """Return what to compile: nothing where the intrinsics of x86 or Linux's memory calls are not there."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return []
    found = []
    for target, flags in TARGETS.items():
        found.append(
            Extension(
                f"trainer_ext.inference.native.encoder_{target}",
                [f"{FOLDER}/encoder.c"],
                depends=[f"{FOLDER}/{name}.h" for name in ("attention", "matmul", "vector")],
                extra_compile_args=[*FLAGS, *flags],
                # A failure is a warning: ONNX Runtime then runs the same model.
                optional=True,
            )
        )
    return found


setup(ext_modules=extensions())
