"""The local store: content once, versions and aliases as W&B has them, several processes, damage, what gc removes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, run_ok, run_script
from trainer_ext.errors import UserError
from trainer_ext.tracking.artifacts.content import content_digest, sha256_of
from trainer_ext.tracking.artifacts.records import Version
from trainer_ext.tracking.artifacts.scores import artifact_name, is_better, split_reference
from trainer_ext.tracking.artifacts.store import Store
from trainer_ext.tracking.artifacts.tables import details, list_table


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
    assert is_better(new, new | {"metric_value": 0.5}) and not is_better(
        new, new | {"metric_value": 0.3}
    )
    assert (
        not is_better(new, new)
        and is_better(new, None)
        and is_better(new, new | {"metric_value": None})
    )
    assert is_better(new, {"metric_name": "pearson", "metric_value": 0.9}), (
        "of another metric: cannot compare"
    )
    assert not is_better(new | {"metric_value": float("nan")}, None) and not is_better({}, None)
    assert is_better(new, new | {"metric_value": float("nan")})


def test_best_begins_anew_on_other_rows(store):
    """A higher value on an easier validation set says nothing; among the same rows the best stays the best."""
    put(store, "m", 0.5, "a", validation_hash="first")
    assert "best" not in put(store, "m", 0.4, "b", validation_hash="first").aliases
    assert "best" in put(store, "m", 0.3, "c", validation_hash="second").aliases, (
        "not comparable: anew"
    )
    assert "best" not in put(store, "m", 0.2, "d", validation_hash="second").aliases
    assert "best" in put(store, "m", 0.1, "e").aliases, "nor where nobody knows the rows"


def test_best_fold_compares_folds_of_one_division(store):
    """Their rows differ, but together they are those of one table; folds of another one take no part."""
    names = [f"g-fold-{k}" for k in range(3)]

    def put_fold(fold, value, division):
        more = {"validation_hash": f"{division}-{fold}", "folds_hash": division}
        put(store, names[fold], value, f"{fold}{value}{division}", **more)
        store.tag_best("best-fold", names, lambda other: other["folds_hash"] == division)
        return [aliases(store, name).get("best-fold") for name in store.names()]

    assert put_fold(0, 0.5, "old") == [0]
    assert put_fold(1, 0.9, "old") == [None, 0]
    assert put_fold(2, 0.7, "old") == [None, 0, None]
    assert put_fold(0, 0.3, "new") == [1, None, None], "of the new division it is the only one"
    assert put_fold(1, 0.2, "new") == [1, None, None]
    assert put_fold(2, 0.4, "new") == [None, None, 1]


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
    assert store.gc() == [
        "blobs/77/770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"
    ]


def test_tag_moves_an_alias_within_a_name_and_among_names(store):
    for k, value in enumerate((0.5, 0.7, 0.6)):
        put(store, f"g-fold-{k}", value, str(k))
    assert store.tag("g-fold-0", "mine").aliases == ("best", "latest", "mine")
    names = [f"g-fold-{k}" for k in range(3)]
    store.tag("g-fold-0:best", "best-fold")
    store.tag_best("best-fold", names, lambda version: True)
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
from trainer_ext.tracking.artifacts.store import Store
root, name, start = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for k in range(start, start + 20):
    file = root / f"{start}.txt"
    file.write_text(str(k) * 5000)
    Store(root / "artifacts").put(name, {"f": file}, {"metric_name": "x", "metric_value": k})
    print(k, flush=True)
"""


def writers(tmp_path, starts):
    command = [sys.executable, "-c", WRITER, tmp_path, "m"]
    return [
        subprocess.Popen([*map(str, command), str(s)], cwd=ROOT, stdout=subprocess.PIPE)
        for s in starts
    ]


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


DAMAGE = {
    "aliases.json": [
        *("", "{", "null", "[]", "3", '{"next": 2}', '{"aliases": {}}', "[" * 100_000),
        *(
            '{"next": "2", "aliases": {}}',
            '{"next": -1, "aliases": {}}',
            '{"next": true, "aliases": {}}',
        ),
        *(
            '{"next": 2, "aliases": []}',
            '{"next": 2, "aliases": {"best": "0"}}',
            '{"next": 2, "aliases": {"best": 2}}',
        ),
        *(
            '{"next": 2, "aliases": {"../x": 0}}',
            '{"next": 2, "aliases": {"v7": 0}}',
            '{"next": 1, "aliases": {"a": 1}}',
        ),
        *(
            '{"next": 0, "aliases": {}}',
            '{"next": 2, "aliases": {}, "removed": 1}',
            '{"next": 999999999, "aliases": {}}',
        ),
        *(
            '{"next": 3, "aliases": {}, "removed": []}',
            '{"next": 3, "aliases": {"a": 2}}',
            b"\xff\xfe{}",
            None,
        ),
    ],
    "v1.json": [
        *("", "{", "null", "[]", "{}", b'{"name": "\xff"}', None),
        *(
            {"name": "other"},
            {"name": 3},
            {"number": 0},
            {"number": "1"},
            {"number": True},
            {"type": None},
            {"type": "\x1b"},
        ),
        *(
            {"digest": "../../precious"},
            {"digest": "0" * 64},
            {"digest": None},
            {"created": 3},
            {"created": "\x1b[2J"},
        ),
        *(
            {"metadata": []},
            {"metadata": {"metric_value": "0.5"}},
            {"files": []},
            {"files": {"a": None}},
            {"files": {}},
        ),
        *(
            {"files": {"a": {"sha256": "ab", "size": 1}}},
            {"files": {"a": {"sha256": "0" * 64, "size": -1}}},
        ),
        *(
            {"files": {"a": {"sha256": "0" * 64}}},
            {"files": {"a": {"sha256": "0" * 64, "size": True}}},
        ),
        *(
            {key: ...}
            for key in ("name", "number", "type", "digest", "created", "metadata", "files")
        ),
    ],
}


def damage(path, content):
    """Replace a record by text or bytes, remove it (None), or change one key of it (... removes the key)."""
    if content is None:
        path.unlink()
    elif isinstance(content, dict):
        record = json.loads(path.read_text()) | content
        path.write_text(
            json.dumps({key: value for key, value in record.items() if value is not ...})
        )
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def everything_in(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def everything_done_with(store):
    """Each thing that one can do with the name `m`, as a function."""
    file = store.root.parent / "new.txt"
    file.write_text("new")
    yield from (
        lambda: store.versions("m"),
        lambda: store.get("m:best"),
        lambda: store.tag("m", "mine"),
    )
    yield from (store.gc, lambda: store.gc(untagged=True), lambda: store.gc(dry_run=True))
    yield from (lambda: store.put("m", {"f": file}, {}), lambda: store.holds("m", {"f": b"x"}))


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_record_is_one_line_and_nothing_is_removed(tmp_path, name):
    """Whatever is wrong with a file of the store: reading, storing, tagging and gc name it and leave all as it is."""
    for number, content in enumerate(DAMAGE[name]):
        (tmp_path / str(number)).mkdir()
        store = Store(tmp_path / str(number) / "artifacts")
        for text in ("a", "b"):
            put(store, "m", 0.5, text)
        put(store, "whole", 0.5, "c")
        damage(store.root / "names/m" / name, content)
        before = everything_in(store.root)
        for act in everything_done_with(store):
            with pytest.raises(UserError) as caught:
                act()
            message = str(caught.value)
            assert (
                str(store.root / "names/m") in message
                and "\n" not in message
                and len(message) < 600
            ), content
        assert everything_in(store.root) == before, content
        assert store.get("whole:best").number == 0, "the others can be read"


def test_hostile_names_and_digests_lead_nowhere(store, tmp_path):
    """A store from elsewhere: a digest that is a path, files that lead out or into one another."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    put(store, "m", 0.5)
    record = store.root / "names/m/v0.json"
    content = json.loads(record.read_text())
    (entry,) = content["files"].values()
    names = [
        "../../../evil",
        "/tmp/evil",
        "a/../../b",
        "..",
        ".",
        "",
        "a//b",
        "./a",
        "a\\b",
        "a\x1b[2Jb",
        "a\nb",
        "a/",
    ]
    for files in ({name: entry} for name in names):
        digest = content_digest(dict.fromkeys(files, entry["sha256"]))
        record.write_text(json.dumps(content | {"files": files, "digest": digest}))
        with pytest.raises(UserError, match=r"v0.json is damaged \(artifact file"):
            store.get("m")
    record.write_text(json.dumps(content | {"digest": "../../../precious"}))
    with pytest.raises(UserError, match=r"v0.json is damaged \(digest is '../../../precious'"):
        store.get("m")
    with pytest.raises(UserError, match="'a' is a file as well"):
        store.put("n", {"a": b"x", "a/b": b"y"}, {})
    for digest, name in (
        ("../../../precious", "a"),
        (content_digest({"../a": entry["sha256"]}), "../a"),
    ):
        with pytest.raises(UserError, match="is not the digest of its files|leads out"):
            store.checkout(Version("m", 0, "model", digest, "", {}, {name: entry}))
    assert (precious / "thesis.txt").read_text() == "x"


def test_symbolic_links_in_the_way(store, tmp_path):
    """What they lead to is neither read, written nor removed."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "v0.json").write_text("mine")
    version = put(store, "m", 0.5)
    folder = store.checkout(version)
    (sha256,) = version.sha256s.values()
    shutil.rmtree(folder)
    folder.symlink_to(precious)
    assert (store.checkout(version) / "file.txt").read_text() == "a" and not folder.is_symlink()
    (folder / "file.txt").unlink()
    (folder / "file.txt").symlink_to(store.blob(sha256))
    assert not (store.checkout(version) / "file.txt").is_symlink()
    (folder / "model.onnx").write_text("not of this version")
    assert sorted(path.name for path in store.checkout(version).iterdir()) == ["file.txt"]
    (store.root / "checkouts" / ("0" * 64)).symlink_to(precious)
    (store.root / "blobs/zz").symlink_to(precious)
    assert store.gc() == ["checkouts/" + "0" * 64], "the link, and not what it leads to"
    (store.root / "names/other").symlink_to(precious)
    for act in (store.gc, lambda: store.put("other", {"a": b"x"}, {}), lambda: store.get("other")):
        with pytest.raises(UserError, match="names/other is a symbolic link"):
            act()
    (store.root / "names/other").unlink()
    (store.root / ".lock").unlink()
    (store.root / ".lock").symlink_to(precious / "v0.json")
    with pytest.raises(UserError, match=".lock is a symbolic link"):
        put(store, "m", 0.6, "b")
    assert [path.read_text() for path in precious.iterdir()] == ["mine"]


def test_gc_removes_only_what_is_the_stores(store):
    """Files of other people stay, what killed processes left goes, and removed versions are known to be."""
    for content in "abc":
        put(store, "m", 0.5, content)
    for name in (
        "blobs/notes.txt",
        "blobs/aa/notes.txt",
        "checkouts/notes.txt",
        "names/m/notes.txt",
        "names/.DS_Store",
    ):
        (store.root / name).parent.mkdir(exist_ok=True)
        (store.root / name).write_text("mine")
    (store.root / "names/m/.v3.json.1.tmp").write_text("cut off")
    assert [path for path in store.gc(untagged=True) if not path.startswith("blobs")] == [
        *("names/m/v1.json", "names/m/.v3.json.1.tmp")
    ]
    assert (
        sum(path.read_bytes() == b"mine" for path in store.root.rglob("*") if path.is_file()) == 5
    )
    assert json.loads((store.root / "names/m/aliases.json").read_text())["removed"] == [1]
    assert [version.number for version in store.versions("m")] == [0, 2]
    (store.root / "names/m/v2.json").unlink()
    with pytest.raises(UserError, match="v2.json is damaged .it is missing"):
        store.gc()


def test_gc_of_a_store_whose_names_are_gone(store, tmp_path):
    """Nobody knows then what the blobs were for."""
    put(store, "m", 0.5)
    for replacement in (
        lambda path: None,
        lambda path: path.write_text(""),
        lambda path: path.symlink_to("nowhere"),
    ):
        (store.root / "names").rename(tmp_path / "kept")
        replacement(store.root / "names")
        with pytest.raises(UserError, match="names is missing"):
            store.gc()
        (store.root / "names").unlink(missing_ok=True)
        (tmp_path / "kept").rename(store.root / "names")
    assert store.gc() == [] and (store.checkout(store.get("m")) / "file.txt").is_file()


def test_a_version_being_written_counts_for_nothing(store):
    """A put that was killed before it moved `next`; also the first one of a name."""
    put(store, "m", 0.5)
    record = (store.root / "names/m/v0.json").read_text()
    (store.root / "names/m/v1.json").write_text(record[:30])
    assert [version.number for version in store.versions("m")] == [0]
    assert store.gc() == ["names/m/v1.json"]
    (store.root / "names/n").mkdir()
    (store.root / "names/n/aliases.json").write_text('{"next": 0, "aliases": {}, "removed": []}')
    (store.root / "names/n/v0.json").write_text("")
    assert put(store, "n", 0.5).number == 0 and store.get("n:best").number == 0


def test_what_killed_writers_left_beside_a_blob(store):
    """A link is not followed, and what an unlocked scratch folder holds goes with the next blob."""
    sha256 = sha256_of(b"a")
    blobs = store.root / "blobs" / sha256[:2]
    abandoned = blobs / f".{sha256[:40]}.trainer-ext-{'0' * 16}.tmp"
    abandoned.mkdir(parents=True)
    (abandoned / sha256).write_text("half")
    (abandoned / sha256).chmod(0o444)
    link = blobs / f".{sha256[:40]}.trainer-ext-{'1' * 16}.tmp"
    link.symlink_to(store.root / "elsewhere")
    put(store, "m", 0.5, "a")
    assert not abandoned.exists() and not (store.root / "elsewhere").exists()
    assert store.gc() == [link.relative_to(store.root).as_posix()] and not link.is_symlink()


def test_a_fresh_artifact_checked_out_by_several_at_once(store):
    """None loses the folder under its feet: the second finds it whole once it holds the lock."""
    version = store.put("m", {f"{k}.bin": bytes([k]) * 20_000 for k in range(30)}, {})

    def check_out_and_read(_):
        folder = Store(store.root).checkout(version)
        return [sha256_of(folder / name) for name in version.files] == list(
            version.sha256s.values()
        )

    for _ in range(10):
        shutil.rmtree(store.root / "checkouts", ignore_errors=True)
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(check_out_and_read, range(4)))


def test_a_full_disk_at_checkout_is_one_line(store, monkeypatch):
    version = put(store, "m", 0.5)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer_ext.tracking.artifacts.store.link_or_copy", full)
    with pytest.raises(UserError, match="m:v0 cannot be unpacked into .*: No space left on device"):
        store.checkout(version)
    assert not list((store.root / "checkouts").iterdir())


@given(st.text(max_size=140), st.sampled_from(["", "-fold-11", "-soup"]))
@settings(max_examples=100, deadline=None)
def test_any_text_becomes_a_name(text, suffix):
    name = artifact_name(text, suffix)
    assert split_reference(name) == (name, "latest") and name.endswith(suffix)


def test_other_texts_become_other_names():
    """What is replaced or cut off leaves a hash of the whole; a fold's number stays at the end."""
    assert (
        artifact_name("essays_v1.2", "-fold-0") == "essays_v1.2-fold-0"
        and len(artifact_name("x" * 128)) == 128
    )
    # the first digits of sha256 of these words in UTF-8
    assert artifact_name("酒店", "-fold-0") == "model-" + sha256_of("酒店".encode())[:8] + "-fold-0"
    alike = [
        "酒店",
        "手机",
        "酒 店",
        "reviews 酒店",
        "reviews 手机",
        "my run",
        "my-run",
        "my/run",
        "run",
        "run.",
        "-run",
    ]
    alike += ["x" * 130, "x" * 131, "x" * 122, "cafe\u0301", "caf\u00e9"]
    for suffix in ("", "-fold-0", "-fold-10"):
        names = {artifact_name(text, suffix) for text in alike}
        assert len(names) == len(alike) and all(
            len(name) <= 128 and name.endswith(suffix) for name in names
        )


def test_references():
    assert split_reference("essays-fold-0:best") == ("essays-fold-0", "best")
    assert split_reference("m") == ("m", "latest")
    for bad in ("", ":best", "m:", "m:a:b", "e/p/m", "m:a b"):
        with pytest.raises(UserError, match="not of the form"):
            split_reference(bad)


def test_list_and_show_of_a_store_from_elsewhere(store, capsys):
    """What is whole is listed beside a damaged name; escape sequences do not reach the terminal."""
    put(store, "a", 0.5, metric="f1\x1b[2J")
    put(store, "b", 0.5, note="\x1b]0;owned\x07")
    shown = details(store.get("b")) + list_table(store)
    assert "owned" in shown and "\x1b" not in shown and "\x07" not in shown
    (store.root / "names/b/v0.json").write_text("{")
    with pytest.raises(UserError, match="names/b/v0.json is not valid JSON"):
        list_table(store)
    assert "a:v0" in capsys.readouterr().out


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
    assert (
        lines[2].split()[:3] == ["reviews:v0", "f1_macro", "0.8125"]
        and lines[2].split()[-1] == "best"
    )
    assert lines[4].split()[-1] == "latest" and len(lines) == 5
    assert not {"torch", "wandb", "transformers"} & {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    }
    shown = run_ok(*module[2:], "show", "reviews:best", env=env).stdout
    assert "single_label" in shown and "file.txt" in shown and "fold" not in shown
    assert "reviews:v1: mine" in run_ok(*module[2:], "tag", "reviews:v1", "mine", env=env).stdout
    assert (
        run_ok(*module[2:], "gc", "--untagged", "--dry_run", env=env).stdout
        == "0 would be removed\n"
    )
    for arguments in (("show", "nothing"), ("tag", "reviews:v9", "x"), ("lst",)):
        done = run_script(*module[2:], *arguments, env=env)
        assert (
            done.returncode == 2
            and done.stderr.startswith("error: ")
            and done.stderr.count("\n") == 1
        )
    assert (
        json.loads((store.root / "names/reviews/aliases.json").read_text())["aliases"]["mine"] == 1
    )
