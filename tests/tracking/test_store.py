"""The local store: content once, versions and aliases as W&B has them, several processes, damage, what gc removes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_ext.errors import UserError
from trainer_ext.tracking.scores import artifact_name, is_better, split_reference
from trainer_ext.tracking.store import Store, content_digest

from ..conftest import ROOT, run_ok, run_script


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "artifacts")


def put(store, name, value, content="a", metric="f1_macro", **more):
    """A version of one file with a score."""
    file = store.root.parent / "file.txt"
    file.write_text(content)
    metadata = {"metric_name": metric, "metric_value": value, "greater_is_better": True, **more}
    return store.put(name, {"file.txt": file}, metadata)


def aliases(store, name):
    return {alias: version.number for version in store.versions(name) for alias in version.aliases}


def test_versions_and_aliases(store):
    """`latest` on the newest, `best` on the highest value, the same content is the same version."""
    assert str(put(store, "m", 0.5, "a")) == "m:v0"
    assert put(store, "m", 0.7, "b").aliases == ("best", "latest")
    assert put(store, "m", 0.6, "c").aliases == ("latest",)
    assert aliases(store, "m") == {"best": 1, "latest": 2}
    assert put(store, "m", 0.9, "a").number == 0, "identical content: no new version"
    assert aliases(store, "m") == {"best": 1, "latest": 0}
    assert put(store, "m", 0.71, "d").aliases == ("best", "latest")
    assert [version.number for version in store.versions("m")] == [0, 1, 2, 3]


def test_lower_is_better_and_other_metrics():
    new = {"metric_name": "mcrmse", "metric_value": 0.4, "greater_is_better": False}
    assert is_better(new, new | {"metric_value": 0.5}) and not is_better(new, new | {"metric_value": 0.3})
    assert not is_better(new, new) and is_better(new, None) and is_better(new, new | {"metric_value": None})
    assert is_better(new, {"metric_name": "pearson", "metric_value": 0.9}), "of another metric: cannot compare"
    assert not is_better(new | {"metric_value": float("nan")}, None) and not is_better({}, None)
    assert is_better(new, new | {"metric_value": float("nan")})


def test_content_is_stored_once_and_read_only(store, tmp_path):
    files = {}
    for name in ("a.bin", "b.bin"):
        files[name] = tmp_path / name
        files[name].write_bytes(b"same")
    version = store.put("m", files, {})
    (blob,) = store.root.glob("blobs/*/*")
    assert blob.stat().st_mode & 0o222 == 0 and version.size == 8
    # sha256 of "same"
    sha = "0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5"
    assert version.files["a.bin"]["sha256"] == blob.name == sha
    assert version.digest == content_digest({"b.bin": sha, "a.bin": sha})
    folder = store.checkout(version)
    assert (folder / "a.bin").read_bytes() == b"same" and (folder / "b.bin").samefile(blob)
    assert version.aliases == ("latest",), "without a score there is no best"


def test_damage_is_detected(store):
    version = put(store, "m", 1.0, "right")
    folder = store.checkout(version)
    (blob,) = store.root.glob("blobs/*/*")
    blob.chmod(0o644)
    blob.write_text("wrong")
    with pytest.raises(UserError, match=r"artifact m:v0: file.txt is damaged.*blobs"):
        store.checkout(version)
    assert put(store, "m", 1.0, "right").number == 0, "storing it again repairs it"
    assert (store.checkout(version) / "file.txt").read_text() == "right"
    (folder / "file.txt").unlink()
    blob.unlink()
    with pytest.raises(UserError, match="file.txt is missing"):
        store.checkout(version)
    (store.root / "names/m/v0.json").write_text("{")
    with pytest.raises(UserError, match="v0.json is not valid JSON"):
        store.get("m")


def test_what_is_not_there_is_named(store):
    put(store, "essays-fold-0", 1.0)
    with pytest.raises(UserError, match="did you mean 'essays-fold-0'"):
        store.get("essay-fold-0:best")
    with pytest.raises(UserError, match="has no 'bst'; there are best, latest, v0"):
        store.get("essays-fold-0:bst")
    with pytest.raises(UserError, match="it is empty"):
        Store(store.root / "other").get("x")
    with pytest.raises(UserError, match="leads out"):
        store.put("m", {"../x": store.root}, {})
    for name in ("a/b", "..", "", "a b"):
        with pytest.raises(UserError, match="artifact name"):
            store.put(name, {}, {})


def test_a_failed_copy_leaves_the_store_as_it_was(store, tmp_path):
    put(store, "m", 0.5, "a")
    (tmp_path / "good").write_text("good")
    with pytest.raises(OSError):
        store.put("m", {"a": tmp_path / "good", "b": tmp_path / "gone"}, {})
    assert aliases(store, "m") == {"best": 0, "latest": 0}
    assert store.gc() == ["blobs/77/770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"]


def test_tag_moves_an_alias_within_a_name_and_among_names(store):
    for k, value in enumerate((0.5, 0.7, 0.6)):
        put(store, f"g-fold-{k}", value, str(k))
    assert store.tag("g-fold-0", "mine").aliases == ("best", "latest", "mine")
    names = [f"g-fold-{k}" for k in range(3)]
    store.tag("g-fold-0:best", "best-fold", names)
    store.tag("g-fold-1:best", "best-fold", names)
    assert ["best-fold" in aliases(store, name) for name in names] == [False, True, False]
    for bad in ("v3", "a:b", "a b"):
        with pytest.raises(UserError, match="alias"):
            store.tag("g-fold-0", bad)


def test_gc(store):
    for content in "abc":
        put(store, "m", 0.5, content)
    first, middle, _ = store.versions("m")
    store.checkout(middle)
    (store.root / "blobs/aa").mkdir()
    (store.root / "blobs/aa/.aa.1.tmp").write_text("cut off")
    assert store.gc(dry_run=True) == ["blobs/aa/.aa.1.tmp"] == store.gc() and store.gc() == []
    removed = store.gc(untagged=True)
    assert len(removed) == 3 and removed[0] == "names/m/v1.json", "v0 is best, v2 latest"
    assert [version.number for version in store.versions("m")] == [0, 2]
    assert put(store, "m", 0.1, "d").number == 3, "numbers are not given twice"
    assert (store.checkout(first) / "file.txt").read_text() == "a"


WRITER = """
import sys
from pathlib import Path
from trainer_ext.tracking.store import Store
root, name, start = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for k in range(start, start + 20):
    file = root / f"{start}.txt"
    file.write_text(str(k) * 5000)
    Store(root / "artifacts").put(name, {"f": file}, {"metric_name": "x", "metric_value": k})
    print(k, flush=True)
"""


def writers(tmp_path, starts):
    command = [sys.executable, "-c", WRITER, tmp_path, "m"]
    return [subprocess.Popen([*map(str, command), str(s)], cwd=ROOT, stdout=subprocess.PIPE) for s in starts]


def test_several_processes_at_once(store, tmp_path):
    """No version is lost or given twice, and the aliases are right."""
    for process in writers(tmp_path, (0, 100, 200)):
        process.communicate()
        assert process.returncode == 0
    versions = store.versions("m")
    assert [version.number for version in versions] == list(range(60))
    values = {version.number: version.metadata["metric_value"] for version in versions}
    assert values[aliases(store, "m")["best"]] == 219 and aliases(store, "m")["latest"] == 59
    assert store.gc() == []


def test_kill_9_leaves_nothing_half(store, tmp_path):
    (process,) = writers(tmp_path, (0,))
    process.stdout.readline()
    time.sleep(0.003)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    versions = store.versions("m")
    assert versions and all(store.checkout(version).is_dir() for version in versions)
    assert put(store, "m", 1000, "next").aliases == ("best", "latest"), "the lock is free"


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_becomes_a_name(text):
    assert split_reference(artifact_name(text)) == (artifact_name(text), "latest")


def test_references():
    assert split_reference("essays-fold-0:best") == ("essays-fold-0", "best")
    assert split_reference("m") == ("m", "latest")
    for bad in ("", ":best", "m:", "m:a:b", "e/p/m", "m:a b"):
        with pytest.raises(UserError, match="not of the form"):
            split_reference(bad)


def test_command_line(store):
    """list, show, tag and gc as a user runs them; mistakes are one line."""
    put(store, "reviews", 0.8125, "a", task="single_label", fold=None)
    put(store, "reviews", 0.7, "b")
    put(store, "reviews", 0.6, "c")
    env = {"TRAINER_EXT_ARTIFACTS": str(store.root)}
    module = ("-X", "importtime", "-m", "trainer_ext.tracking")
    done = run_ok(*module, "list", env=env)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["artifact", "metric", "MB", "created", "(UTC)", "aliases"]
    assert lines[2].split()[:3] == ["reviews:v0", "f1_macro", "0.8125"] and lines[2].split()[-1] == "best"
    assert lines[4].split()[-1] == "latest" and len(lines) == 5
    assert not {"torch", "wandb", "transformers"} & {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    }
    shown = run_ok(*module[2:], "show", "reviews:best", env=env).stdout
    assert "single_label" in shown and "file.txt" in shown and "fold" not in shown
    assert "reviews:v1: mine" in run_ok(*module[2:], "tag", "reviews:v1", "mine", env=env).stdout
    assert run_ok(*module[2:], "gc", "--untagged", "--dry_run", env=env).stdout == "0 would be removed\n"
    for arguments in (("show", "nothing"), ("tag", "reviews:v9", "x"), ("lst",)):
        done = run_script(*module[2:], *arguments, env=env)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert json.loads((store.root / "names/reviews/aliases.json").read_text())["aliases"]["mine"] == 1
