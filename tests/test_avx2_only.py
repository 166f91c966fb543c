"""The script that hides new instructions from a command: what it changes in a library and in the flags of a CPU."""

import importlib
import shutil
import subprocess
from pathlib import Path

import pytest

from trainer_ext.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("cc", "objdump")
# A constant with the bytes of `cpuid` (0f a2), and one `cpuid`.
WITH_CPUID = """
unsigned leaf_7(void)
{
    unsigned a = 7, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return b ^ 0x1122a20fu;
}
"""
WITHOUT = "unsigned constant(void) { return 0x1122a20fu; }"

needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="needs a C compiler and objdump"
)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("avx2_only")


def compile_library(folder: Path, source: str) -> Path:
    (folder / "a.c").write_text(source, encoding="utf-8")
    library = folder / "a.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", folder / "a.c", "-o", library], check=True)
    return library


@needs_tools
def test_only_the_instruction_is_replaced(script, tmp_path):
    library = compile_library(tmp_path, WITH_CPUID)
    before = library.read_bytes()
    after = script.without_cpuid(library)
    assert len(after) == len(before)
    changed = [place for place in range(len(before)) if before[place] != after[place]]
    # cpuid is 0f a2, ud2 is 0f 0b: one byte differs, and the constant keeps its own.
    assert len(changed) == 1
    assert before[changed[0] - 1 : changed[0] + 1] == b"\x0f\xa2"
    assert after[changed[0] - 1 : changed[0] + 1] == b"\x0f\x0b"


@needs_tools
def test_a_library_without_the_instruction_is_refused(script, tmp_path):
    library = compile_library(tmp_path, WITHOUT)
    with pytest.raises(UserError, match="no cpuid instruction"):
        script.without_cpuid(library)


def test_flags_newer_than_avx2_go(script):
    flags = "avx f16c avx2 bmi2 avx512f avx_vnni avx512_vnni amx_tile amx_int8 fma"
    assert script.NEWER.sub("", flags).split() == ["avx", "f16c", "avx2", "bmi2", "fma"]


def test_a_command_is_needed(script, monkeypatch):
    monkeypatch.setattr(script.sys, "argv", ["avx2_only.py"])
    with pytest.raises(UserError, match="which command"):
        script.main()
