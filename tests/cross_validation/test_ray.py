"""Folds on a real Ray cluster of several node processes: as by processes, when a node is killed, and interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.conftest import ROOT, run_ok
from tests.cross_validation.test_processes import models_of, recipe
from trainer_ext.cross_validation.launchers.ray_cluster import slots_of
from trainer_ext.errors import UserError

LONG = {"max_steps": 60, "save_steps": 10, "eval_steps": 10}
NAMES = [f"fold-{k}" for k in range(5)]


@pytest.mark.parametrize(
    "cluster, cpus, gpus, slots",
    [
        ({"CPU": 4.0}, 1, 0, 4),
        ({"CPU": 4.0}, 1.5, 0, 2),
        ({"CPU": 8.0, "GPU": 1.0}, 1, 0.5, 2),
    ],
)
def test_room_of_a_cluster(cluster, cpus, gpus, slots):
    """By CPUs and GPUs, fractions too."""
    assert slots_of(cluster, cpus, gpus) == slots


@pytest.mark.parametrize("cluster, gpus", [({"CPU": 0.5}, 0), ({"CPU": 4.0}, 1)])
def test_no_room(cluster, gpus):
    """Nothing would ever start, and nobody know why."""
    with pytest.raises(UserError, match="the cluster has"):
        slots_of(cluster, 1, gpus)


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one CPU; a head without any, so that both may be killed."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    # At Ray's 15 trainings hardly move beside other work: the test waited for ten minutes without a step.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def start(path, cluster, *flags) -> subprocess.Popen:
    """train.py with the cluster's address, in a process group of its own."""
    command = [sys.executable, "train.py", str(path), "--launcher", "ray"]
    command += ["--ray_address", cluster.address, *map(str, flags)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(done, process: subprocess.Popen) -> None:
    """Until `done()`; the process must not end before."""
    while not done():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)


@pytest.mark.slow
def test_a_node_is_killed_in_the_middle(tmp_path, cluster):
    """Its fold goes on elsewhere; cv.json and all weights are those of the process launcher."""
    path = recipe(tmp_path, folds=5, output_dir=str(tmp_path / "processes"), **LONG)
    run_ok("train.py", path)
    folder = tmp_path / "ray"
    process = start(path, cluster, "--output_dir", folder)
    wait_for(lambda: list(folder.glob("fold-*/checkpoint-*")), process)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    assert process.wait(900) == 0, process.stderr.read()
    scores = [
        json.loads((tmp_path / name / "cv.json").read_text()) for name in ("processes", "ray")
    ]
    assert scores[0] == scores[1]
    assert models_of(folder, NAMES) == models_of(tmp_path / "processes", NAMES)
    again = start(path, cluster, "--output_dir", folder)
    assert again.stderr.read().count("finished before, kept") == 5 and again.wait() == 0


@pytest.mark.slow
def test_a_folder_at_a_url(tmp_path):
    """On an FTP server: the files and bits of a folder, after a training that crashed and went on elsewhere."""
    pytest.importorskip("pyftpdlib")
    from tests.ftp_server import PASSWORD, FtpServer

    test_file = str(tmp_path / "validation.jsonl")
    flags = {"folds": 2, "max_steps": 12, "save_steps": 4, "eval_steps": 4, "test_file": test_file}
    path = recipe(tmp_path, output_dir=str(tmp_path / "here/cv"), **flags)
    run_ok("train.py", path)
    told = tmp_path / "told"
    # After its first checkpoint, once: the second try goes on in another scratch folder.
    (tmp_path / "sitecustomize.py").write_text(CRASH.format(told=str(told)))
    with FtpServer(tmp_path / "there") as server:
        environment = {**server.environment, "PYTHONPATH": str(tmp_path)}
        on_ray = ["--launcher", "ray", "--ray_address", "local"]
        words = ["train.py", path, "--output_dir", f"{server.url}/cv", *on_ray]
        done = run_ok(*words, env=environment)
        again = run_ok(*words, env=environment)
    folder = tmp_path / "there/cv"
    names = ["fold-0", "fold-1"]
    # The second try does not begin again.
    steps = re.findall(r"^step +(\d+) ", (folder / "fold-1/train.log").read_text(), re.MULTILINE)
    assert told.exists() and list(map(int, steps)) == list(range(1, 13))
    assert models_of(folder, names) == models_of(tmp_path / "here/cv", names)
    assert (folder / "cv.json").read_bytes() == (tmp_path / "here/cv/cv.json").read_bytes()
    files = [sorted(at.rglob("*.csv")) for at in (folder, tmp_path / "here/cv")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    assert again.stderr.count("finished before, kept") == 2
    assert yaml.safe_load((folder / "resolved_config.yaml").read_text())["output_dir"].startswith(
        "ftp://"
    )
    texts = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    assert not any(PASSWORD.encode() in text for text in texts)
    assert PASSWORD not in done.stdout + done.stderr


CRASH = """
import os, sys, threading, time

def crash():
    folder = os.path.join(os.environ["TRAINER_EXT_COPY"], "fold-1", "checkpoint-4")
    while not os.path.exists(os.path.join(folder, "trainer_state.json")):
        time.sleep(0.01)
    open({told!r}, "w").close()
    os._exit(7)

if sys.orig_argv[-2:] == ["--fold", "1"] and not os.path.exists({told!r}):
    if "TRAINER_EXT_COPY" in os.environ:
        threading.Thread(target=crash, daemon=True).start()
"""


@pytest.mark.slow
def test_interrupted(tmp_path, cluster):
    """Ctrl-C ends all trainings within seconds; the same command goes on."""
    folder = tmp_path / "ray"
    path = recipe(tmp_path, folds=2, output_dir=str(folder), **(LONG | {"max_steps": 2000}))
    process = start(path, cluster)
    wait_for(lambda: len(list(folder.glob("fold-*/checkpoint-*"))) > 1, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    deadline = time.monotonic() + 20
    while trainings_of(path) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert trainings_of(path) == []
    values = yaml.safe_load((folder / "resolved_config.yaml").read_text())
    assert "launcher" not in values and "ray_address" not in values


def trainings_of(path) -> list[str]:
    """The command lines of processes that train from this test's folder."""
    done = subprocess.run(["ps", "-eo", "args"], text=True, capture_output=True, check=True)
    return [line for line in done.stdout.splitlines() if f"{path.parent}/ray" in line]
