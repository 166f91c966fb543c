"""ONNX sessions: threads that fit the container, and the provider asked for or an error."""

import json
from pathlib import Path

import pytest
import torch

from tests.inference.conftest import save_int8, save_model, save_onnx
from trainer_ext import cores
from trainer_ext.cores import available_cores, cpu_quota
from trainer_ext.errors import UserError
from trainer_ext.inference import load_predictor, onnx_session
from trainer_ext.inference.folder import recorded_dynamic_int8
from trainer_ext.inference.onnx_session import (
    OnnxSession,
    scales_at_run_time,
    session_options,
)
from trainer_ext.modeling.session import use_available_cores


def cgroup(root: Path, files: dict[str, str]) -> str:
    """A tree of cgroup files."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return str(root)


V1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "20000 100000\n"}, 1.0),  # a fifth of a core is still one thread
        ({"cpu.max": "max 100000\n"}, None),
        ({V1[0]: "400000\n", V1[1]: "100000\n"}, 4.0),
        ({V1[0]: "-1\n", V1[1]: "100000\n"}, None),
        ({V1[0]: "50000\n", V1[1]: "100000\n"}, 1.0),
        (
            {"cpu.max": "300000 100000\n", V1[0]: "100000\n", V1[1]: "100000\n"},
            3.0,
        ),  # v2 goes first
        ({V1[0]: "400000\n"}, None),
        ({}, None),
    ],
)
def test_cpu_quota(tmp_path, files, expected):
    """cgroup v2 and v1, with and without a limit."""
    assert cpu_quota(cgroup(tmp_path, files)) == expected


@pytest.mark.parametrize(
    "quota, affinity, expected", [(None, 3, 3), (2.0, 8, 2), (1.5, 8, 1), (16.0, 4, 4), (1.0, 1, 1)]
)
def test_available_cores(monkeypatch, quota, affinity, expected):
    """The smaller of quota and affinity, and never less than 1."""
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    monkeypatch.setattr(
        cores.os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False
    )
    assert available_cores() == expected


def test_available_cores_here():
    """On this machine."""
    assert available_cores() >= 1


def test_sessions_do_not_spin():
    """A thread that waits leaves its core to others."""
    assert session_options(2).get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(
    "quota, given, expected", [(2.0, None, 2), (None, None, 8), (2.0, "8", 8), (64.0, None, 8)]
)
def test_torch_takes_no_more_threads_than_cores(monkeypatch, quota, given, expected):
    """torch counts the machine's; whoever sets OMP_NUM_THREADS has decided."""
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    threads = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    use_available_cores()
    assert threads[-1] == expected
    use_available_cores(3)
    assert threads[-1] == 3


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 50])
def test_broken_file(tmp_path, content):
    """Naming the file, on one line."""
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match="model.onnx cannot be loaded: ") as caught:
        OnnxSession(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("saturates", [True, False])
def test_exact_int8_products_are_asked_for_where_they_saturate(monkeypatch, saturates):
    """Of every session, hence in the gate as in prediction."""
    monkeypatch.setattr(onnx_session, "int8_saturates", lambda instructions: saturates)
    options, key = onnx_session.session_options(1), "session.x64quantprecision"
    if saturates:
        assert options.get_session_config_entry(key) == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry(key)


def test_a_quantised_model_is_known_by_its_operators(tmp_path):
    """Whatever it is called."""
    save_int8(tmp_path / "small.onnx")
    save_onnx(tmp_path / "model_quantized.onnx")
    assert scales_at_run_time(tmp_path / "small.onnx") and not scales_at_run_time(
        tmp_path / "model_quantized.onnx"
    )
    with pytest.raises(UserError, match="provider cuda cannot run the INT8 model"):
        OnnxSession(tmp_path / "small.onnx", provider="cuda")


def write_report(folder: Path, file: str, **entries) -> None:
    variant = {"name": "x", "file": file, "bytes": (folder / file).stat().st_size, **entries}
    (folder / "export_report.json").write_text(json.dumps({"chosen": "x", "variants": [variant]}))


def test_the_report_says_which_file_scales_at_run_time(tmp_path, monkeypatch):
    """Then the file is not searched; without the entry (older exports), and for another file, it is."""
    folder = save_model(tmp_path)
    save_int8(folder / "small.onnx")
    searched: list[str] = []
    search = scales_at_run_time

    def counted(path: Path) -> bool:
        searched.append(path.name)
        return search(path)

    monkeypatch.setattr(onnx_session, "scales_at_run_time", counted)
    write_report(folder, "small.onnx", dynamic_int8=True)
    assert not load_predictor(folder).session.batch_invariant and searched == []
    write_report(folder, "model.onnx", dynamic_int8=False)
    assert load_predictor(folder).session.batch_invariant and searched == []
    write_report(folder, "small.onnx")
    assert not load_predictor(folder).session.batch_invariant and searched == ["small.onnx"]
    write_report(folder, "small.onnx", dynamic_int8=False, bytes=1)
    assert recorded_dynamic_int8(folder / "small.onnx") is None, "another file than was reported"
    assert recorded_dynamic_int8(folder / "model.onnx") is None
