"""A folder at a URL and its copy: what goes up and down, on a folder by its URL and on an FTP server."""

import logging

import pytest
from fsspec.config import conf, set_conf_env

from tests.conftest import run_script
from trainer_ext.errors import UserError
from trainer_ext.storage import Storage, StorageError, check_url, is_url, remote_files

pytest.importorskip("pyftpdlib")
from tests.ftp_server import FtpServer


@pytest.fixture(params=["file", "ftp"])
def url(request, tmp_path, monkeypatch):
    """Of a folder that is not there yet."""
    if request.param == "file":
        yield f"file://{tmp_path}/there/run"
        return
    logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
    with FtpServer(tmp_path / "there") as server:
        monkeypatch.setitem(conf, "ftp", {})
        set_conf_env(conf, server.environment)
        yield f"{server.url}/run"


def filled(folder, **files: str):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def content(folder) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def test_up_and_down_again(url, tmp_path):
    """What changed goes up again, what was removed here is removed there; other files stay."""
    here = filled(tmp_path / "here", **{"a": "1", "fold-0__metrics.json": "2", "fold-0__c": "3"})
    filled(here, **{"fold-0__.lock": "of this machine"})
    storage = Storage(url, here)
    storage.pull()
    storage.push()
    assert content(tmp_path / "there/run") == {
        "a": "1",
        "fold-0/metrics.json": "2",
        "fold-0/c": "3",
    }
    filled(tmp_path / "there/run", foreign="x")
    filled(here, a="longer", **{"fold-0__metrics.json": "22"})
    (here / "fold-0/c").unlink()
    storage.push()
    expected = {"a": "longer", "fold-0/metrics.json": "22", "foreign": "x"}
    assert content(tmp_path / "there/run") == expected
    other = Storage(url, tmp_path / "other")
    other.pull(lambda name: name != "foreign")
    expected.pop("foreign")
    assert content(tmp_path / "other") == expected
    other.forget(lambda name: name.startswith("fold-0/"))
    assert set(content(tmp_path / "there/run")) == {"a", "foreign"}


def test_what_says_that_all_is_there_goes_up_last(tmp_path, monkeypatch):
    """A training whose weights did not arrive must not count as finished."""
    here = filled(tmp_path / "here", **{"metrics.json": "1", "model": "2", "z": "3"})
    sent = []
    monkeypatch.setattr(
        "trainer_ext.storage.put", lambda system, path, target: sent.append(path.name)
    )
    Storage(f"file://{tmp_path}/there", here).push()
    assert sent == ["model", "z", "metrics.json"]


@pytest.mark.parametrize("name, answer", [("s3://a/b", True), ("file:///a", True), ("a/b", False)])
def test_which_names_are_urls(name, answer):
    assert is_url(name) == answer


def test_what_is_refused(tmp_path):
    """A memory of its own, a password in sight, an unknown kind, a store that does not answer."""
    with pytest.raises(UserError, match="memory of one process"):
        check_url("output_dir", "memory://x")
    with pytest.raises(UserError, match="FSSPEC_FTP_PASSWORD") as caught:
        check_url("output_dir", "ftp://me:secret@host/x")
    assert "secret" not in str(caught.value)
    with pytest.raises(UserError, match="nonsense"):
        Storage("nonsense://x", tmp_path).pull()
    with pytest.raises(StorageError, match="ftp://127.0.0.1:9/x"):
        Storage("ftp://127.0.0.1:9/x", tmp_path).pull()


@pytest.mark.parametrize(
    "words",
    [
        ["train.py", "--from_scratch", "tiny", "--train_file", "FILE", "--task", "single_label"],
        ["predict.py", "--engine", "ray", "--model", "m", "--input", "FILE"],
    ],
)
def test_where_no_url_is_taken(words, tmp_path, topic_files):
    """One line, exit status 2, and no folder called `s3:`."""
    words = [str(topic_files["train"]) if word == "FILE" else word for word in words]
    flag = "--output" if words[0] == "predict.py" else "--output_dir"
    done = run_script(*words, flag, "s3://bucket/x", cwd=tmp_path, real=False)
    assert done.returncode == 2 and "s3://bucket/x" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


class Keys:
    """A store of objects, whose keys are names and no paths."""

    def __init__(self, *keys: str):
        self.keys = keys

    def find(self, root: str) -> list[str]:
        return [f"{root}/{key}" for key in self.keys]


def test_a_key_that_leads_out_of_the_folder_is_refused():
    assert remote_files(Keys("a", "fold-0/..b"), "bucket/run") == ["a", "fold-0/..b"]
    with pytest.raises(StorageError, match=r"run/fold-0/\.\./\.\./evil leads out of the folder"):
        remote_files(Keys("a", "fold-0/../../evil"), "bucket/run")
