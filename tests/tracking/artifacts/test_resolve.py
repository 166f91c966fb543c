"""`artifact:` and `wandb:` references: from the store, from the server, from the cache when the server is away."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tests.conftest import run_ok, run_script
from tests.inference.conftest import save_model
from tests.tracking.conftest import client
from tests.wandb_server import ENTITY, PROJECT, WandbServer
from trainer_ext.errors import UserError
from trainer_ext.tracking.artifacts import resolve, upload
from trainer_ext.tracking.artifacts.resolve import resolve_model
from trainer_ext.tracking.artifacts.store import Store

MODEL = f"wandb:{ENTITY}/{PROJECT}/reviews"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An ONNX model small enough to compute by hand."""
    return save_model(tmp_path_factory.mktemp("model"))


def put(store, folder, name="reviews"):
    files = {path.name: path for path in folder.iterdir()}
    return store.put(name, files, {"metric_name": "f1", "metric_value": 0.5})


def test_predict_from_the_store_loads_nothing_heavy(folder, tmp_path):
    """`artifact:NAME:ALIAS`, several with braces too; mistakes are one line with exit status 2."""
    store = Store(tmp_path / "store")
    put(store, folder)
    put(store, folder, "reviews-fold-0")
    env = {"TRAINER_EXT_ARTIFACTS": str(store.root)}
    done = run_ok(
        "-X",
        "importtime",
        "predict.py",
        "--model",
        "artifact:reviews:best",
        "--text",
        "good food",
        env=env,
    )
    assert "pos" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "onnxruntime" in imported and not imported & {"torch", "transformers", "wandb"}
    run_ok("predict.py", "--model", "artifact:reviews-fold-{0..0}:best", "--text", "good", env=env)
    for model, words in (
        ("artifact:review:best", "did you mean 'reviews'"),
        ("artifact:reviews:old", "has no 'old'"),
    ):
        done = run_script("predict.py", "--model", model, "--text", "good", env=env)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def published(folder, tmp_path):
    """A server with the model as reviews:v0, and this process's client there, with an empty cache and no store."""
    import wandb

    with WandbServer() as server, client(server, tmp_path):
        run = wandb.init()
        store = Store(tmp_path / "trained-here")
        upload.upload(store, put(store, folder), run)
        run.finish()
        yield server


def downloads(server) -> int:
    return sum(
        request.startswith("GET blob/") and "manifest" not in request for request in server.requests
    )


def test_download_cache_and_no_server(published, folder, monkeypatch, capsys):
    """Downloaded once; taken from the cache afterwards; without a server too, with a warning. No run is opened."""
    files = sorted(path.name for path in folder.iterdir())
    place = resolve_model(f"{MODEL}:best")
    assert sorted(path.name for path in place.iterdir()) == files and len(published.runs) == 1
    assert all((place / name).read_bytes() == (folder / name).read_bytes() for name in files)
    count = downloads(published)
    assert count == len(files)
    assert (
        resolve_model(f"{MODEL}:v0") == resolve_model(MODEL) == place
        and downloads(published) == count
    )
    assert capsys.readouterr().err.count("warning") == 0
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert resolve_model(f"{MODEL}:best") == place
    assert "warning: W&B does not answer (WANDB_MODE is offline)" in capsys.readouterr().err
    with pytest.raises(UserError, match="reviews:other is not here, and W&B does not answer"):
        resolve_model(f"{MODEL}:other")
    (place / "config.json").write_text("{}")
    with pytest.raises(UserError, match="reviews:best is not here"):
        resolve_model(f"{MODEL}:best")
    monkeypatch.setenv("WANDB_MODE", "online")
    resolve_model(f"{MODEL}:best")
    assert (place / "config.json").read_bytes() == (folder / "config.json").read_bytes(), (
        "damaged: fetched again"
    )


def test_the_local_store_is_asked_for_the_content_first(
    published, folder, tmp_path, monkeypatch, capsys
):
    """The server says which content; what is here is not downloaded. Its alias counts only where nobody answers."""
    store = Store()
    put(store, folder, "another-name")
    assert resolve_model(f"{MODEL}:best").is_relative_to(store.root) and downloads(published) == 0
    store.tag("another-name", "mine")
    (tmp_path / "other").write_text("other content")
    store.put("reviews", {"other": tmp_path / "other"}, {"metric_name": "f1", "metric_value": 0.9})
    assert (resolve_model(f"{MODEL}:best") / "config.json").exists(), (
        "the server's best, not the store's"
    )
    monkeypatch.delenv("WANDB_API_KEY")
    assert (resolve_model(f"{MODEL}:best") / "config.json").exists(), (
        "what it was when the server last answered"
    )
    assert "no API key" in capsys.readouterr().err
    assert (resolve_model("wandb:a/b/reviews:best") / "other").exists()
    assert "taking artifact:reviews:v0 of the local store" in capsys.readouterr().err
    with pytest.raises(UserError, match="not here"):
        resolve_model("wandb:a/b/reviews:v0")


def test_damage_on_the_way_is_found(published):
    """A blob that is not what it was is refused, and nothing of it stays in the cache."""
    for digest in list(published.blobs):
        if not digest.startswith("manifest"):
            published.blobs[digest] += b"x"
    with pytest.raises(UserError, match=r"wandb:.*reviews:best cannot be downloaded"):
        resolve_model(f"{MODEL}:best")
    assert not [path for path in resolve.cache_folder().rglob("*") if path.is_file()]


def test_a_name_that_leads_out_is_refused(published, tmp_path):
    """Whatever a server says, nothing is written outside the cache."""
    (manifest,) = [name for name in published.blobs if name.startswith("manifest")]
    published.blobs[manifest] = published.blobs[manifest].replace(
        b'"config.json"', b'"../../../config.json"'
    )
    with pytest.raises(UserError, match="cannot be downloaded: .*leads out of the artifact"):
        resolve_model(f"{MODEL}:best")
    assert not (tmp_path / "config.json").exists()


def test_what_the_server_does_not_have(published):
    for reference in (
        f"{MODEL}:none",
        f"wandb:{ENTITY}/{PROJECT}/none:best",
        f"wandb:{ENTITY}/none/reviews:best",
    ):
        with pytest.raises(UserError, match="model wandb:.*not found"):
            resolve_model(reference)
    for fault in (500, "cut"):
        published.fault = lambda path, fault=fault: fault
        with pytest.raises(UserError, match="is not here, and W&B does not answer"):
            resolve_model(f"{MODEL}:best")
    assert len(published.runs) == 1


@pytest.mark.parametrize(
    "reference",
    ["wandb:a/b", "wandb:a/../b:best", "wandb:a/b/c:d:e", "wandb:", "artifact:", "artifact:a/b"],
)
def test_references_of_the_wrong_form(reference):
    with pytest.raises(UserError, match="not of the form"):
        resolve_model(reference)


def test_nothing_listens():
    """At once, as one line."""
    code = "import sys; from trainer_ext.tracking.artifacts.resolve import resolve_model; resolve_model(sys.argv[1])"
    env = {
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_API_KEY": "k" * 40,
        "WANDB_MODE": "online",
    }
    done = run_script(
        "-c", code, f"{MODEL}:best", env=env | {"NO_PROXY": "127.0.0.1", "HOME": "/nonexistent"}
    )
    assert (
        "UserError: model wandb:team/project/reviews:best is not here, and W&B does not answer"
        in done.stderr
    )


class Uploaded:
    """What W&B's client gives for an artifact; its digest is what whoever uploaded it says."""

    qualified_name = "team/p/m:v0"
    fetched = 0

    def __init__(self, folder, digest="0" * 32, metadata=None, real=None):
        self.folder, self.digest, self.real, self.metadata = (
            folder,
            digest,
            real or digest,
            metadata or {},
        )

    @property
    def manifest(self):
        self.digest = self.real  # the client computes it once it has the manifest
        return SimpleNamespace(entries=dict.fromkeys(path.name for path in self.folder.iterdir()))

    def download(self, root, skip_cache):
        self.fetched += 1
        time.sleep(0.02)
        shutil.copytree(self.folder, root)

    def verify(self, root):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    return resolve.cache_folder()


@pytest.mark.parametrize(
    "digest", ["../../precious", "/tmp/x", "", "AB" * 16, "0" * 31, "0" * 32 + "\n", None]
)
def test_a_digest_that_is_a_path_leads_nowhere(folder, cache, tmp_path, digest):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("x")
    with pytest.raises(
        UserError, match="cannot be downloaded: the digest that W&B gives, .* is not hex"
    ):
        resolve.download(Uploaded(folder, digest))
    assert (tmp_path / "precious/thesis.txt").read_text() == "x" and not cache.exists()


def test_content_under_the_digest_of_another_is_refused(folder, cache):
    """Else it would be served for the other one from then on."""
    with pytest.raises(UserError, match=f"{'0' * 32}, is not that of its manifest"):
        resolve.download(Uploaded(folder, real="1" * 32))
    with pytest.raises(UserError, match="the content is not what its metadata say"):
        resolve.download(Uploaded(folder, metadata={"sha256": "0" * 64}))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_cache_that_was_touched_is_fetched_again(folder, cache, tmp_path):
    """Files that are no part of it, links, a damaged list of digests."""
    place = resolve.download(Uploaded(folder))
    name = "config.json"
    for damage in (
        lambda: (place / "modeling.py").write_text("print()"),
        lambda: ((place / name).unlink(), (place / name).symlink_to(folder / name)),
        lambda: (place.parent / "sha256.json").write_text("[" * 100_000),
        lambda: (place.parent / "sha256.json").write_text('{"config.json": 3}'),
        lambda: (shutil.rmtree(place), place.symlink_to(folder)),
    ):
        damage()
        artifact = Uploaded(folder)
        assert resolve.download(artifact) == place and artifact.fetched == 1
        assert sorted(path.name for path in place.iterdir()) == sorted(
            path.name for path in folder.iterdir()
        )
        assert not (place / name).is_symlink() and not place.is_symlink()
    assert (folder / name).is_file()


def test_several_download_at_once(folder, cache):
    """One fetches it, the others wait for it, and nobody loses the folder under their feet."""
    artifact = Uploaded(folder)

    def download_and_read(_):
        return (resolve.download(artifact) / "config.json").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(download_and_read, range(4))) == {(folder / "config.json").read_bytes()}
    assert artifact.fetched == 1 and [path.name for path in cache.iterdir()] == ["0" * 32]


def test_what_was_last_known_may_be_damaged(cache, tmp_path, monkeypatch):
    """It is passed over then, and its digest is no path either."""
    (tmp_path / "precious/files").mkdir(parents=True)
    monkeypatch.setenv("TRAINER_EXT_ARTIFACTS", str(tmp_path / "store"))
    known = cache / "refs/a/b/m/best.json"
    known.parent.mkdir(parents=True)
    for text in (
        "",
        "[]",
        "{}",
        '{"digest": "../../precious", "sha256": "../x"}',
        '{"digest": 1, "sha256": 2}',
        "[" * 9999,
    ):
        known.write_text(text)
        with pytest.raises(UserError, match="m:best is not here, and W&B does not answer"):
            resolve.without_server("a/b/m:best", known, "m", "best", "no network")


def test_a_damaged_name_does_not_hide_the_others(folder, tmp_path, capsys):
    store = Store(tmp_path / "store")
    version = put(store, folder, "z")
    put(store, folder, "a")
    (store.root / "names/a/aliases.json").write_text("{")
    assert resolve.version_with(store, version.digest) == version
    assert "names/a/aliases.json is not valid JSON" in capsys.readouterr().err
