"""Versions of the local store brought up to W&B: each once, with their aliases, whatever became of the runs."""

import os

import pytest

from tests.tracking.conftest import client
from tests.wandb_server import WandbServer
from trainer_ext.errors import UserError
from trainer_ext.tracking.artifacts.push import push, versions_of
from trainer_ext.tracking.artifacts.scores import folds_beside
from trainer_ext.tracking.artifacts.store import Store


@pytest.fixture
def store(tmp_path):
    """Three versions of `m`, the second the best and `mine`; two folds."""
    store = Store(tmp_path / "store")
    for content, value in ((b"a", 0.5), (b"b", 0.9), (b"c", 0.7)):
        store.put("m", {"file": content}, {"metric_name": "f1", "metric_value": value})
    store.tag("m:v1", "mine")
    for fold, value in ((0, 0.3), (1, 0.4)):
        metadata = {"metric_name": "f1", "metric_value": value, "fold": fold, "folds_hash": "x"}
        store.put(f"g-fold-{fold}", {"file": b"%d" % fold}, metadata)
    return store


def test_push(store, tmp_path, capsys):
    """All of a name, one by alias, twice; a server that breaks is said, and later it goes on."""
    with WandbServer() as server, client(server, tmp_path):
        push(store, ["m:best"])
        assert server.contents("m", 0) == {"file": b"b"} and server.alias("m", "mine") == 0
        assert (
            capsys.readouterr().out.splitlines()[-1] == "artifact:m:v1 is wandb:team/project/m:v0"
        )
        push(store, ["m", "g-fold-0", "g-fold-1", "m:v0"])
        assert [server.contents("m", k)["file"] for k in range(3)] == [b"b", b"a", b"c"]
        assert [server.alias("m", alias) for alias in ("latest", "best", "mine")] == [2, 0, 0]
        assert (server.alias("g-fold-0", "best-fold"), server.alias("g-fold-1", "best-fold")) == (
            None,
            0,
        )
        assert {run["jobType"] for run in server.runs.values()} == {"push"}
        store.put("m", {"file": b"d"}, {})
        server.fault = lambda path: 500 if path.startswith("blob") else None
        with pytest.raises(UserError, match=r"W&B did not take artifact:m:v3 \(") as caught:
            push(store, ["m:v3"])
        assert caught.value.status == 1
        server.fault = lambda path: None
        push(store, ["m:v3"])
        assert server.contents("m", 3) == {"file": b"d"}


def test_what_cannot_be_pushed_is_said_before_a_run_is_opened(store, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(UserError, match="no artifact 'n' in .*there are g-fold-0, g-fold-1, m"):
        push(store, ["n"])
    with pytest.raises(UserError, match="push needs W&B online, but WANDB_MODE is offline"):
        push(store, ["m"])
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UserError, match="push needs an API key"):
        push(store, ["m"])
    (sha256,) = store.get("m:v0").sha256s.values()
    os.chmod(store.blob(sha256), 0o644)
    store.blob(sha256).write_text("damaged")
    with pytest.raises(UserError, match="artifact m:v0: file is damaged"):
        push(store, ["m"])
    assert not (tmp_path / "wandb").exists()


def test_which_versions(store):
    assert [str(v) for v in versions_of(store, ["m:v1", "m", "g-fold-0"])] == [
        "m:v1",
        "m:v0",
        "m:v2",
        "g-fold-0:v0",
    ]
    assert (
        folds_beside("g-fold-1", store.names()) == ["g-fold-0", "g-fold-1"]
        and folds_beside("m", ["m"]) == []
    )
