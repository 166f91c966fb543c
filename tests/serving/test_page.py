"""The page at `/`: where its parts come from, what its routes give out, and to whom."""

import csv
import json
import re
import shutil
import signal
import subprocess

import pytest

from tests.conftest import ROOT
from tests.inference.conftest import save_model, save_onnx
from tests.serving.conftest import running
from tests.serving.test_access import KEY
from tests.serving.test_predict import RUNS
from trainer_ext.data.io.answers import write_answers
from trainer_ext.inference import load_predictor
from trainer_ext.serving import documents
from trainer_ext.serving.documents import LARGEST, PNG, listing, read_documents
from trainer_ext.serving.page import STATIC, asset_routes

TEXTS = ["good food", "bad\nstaff", "", 'a "quote", \U0001f600 混合']
TARGETS = {"columns": ["2020", "plot", "cast"], "classes": [], "values": []}
# A namespace is a name that looks like an address; nothing is fetched from it.
NAMESPACE = "http://www.w3.org/2000/svg"


def add_documents(folder) -> None:
    """A card, metrics, a plot, and files that are not what they are called, or too large."""
    (folder / "plots").mkdir()
    (folder / "plots/curves.png").write_bytes(PNG + b"curves")
    (folder / "plots/fake.png").write_bytes(b"<script>alert(1)</script>")
    (folder / "large.png").write_bytes(PNG + bytes(LARGEST))
    (folder / "README.md").write_text("# Films, 电影", encoding="utf-8")
    (folder / "metrics.json").write_text('{"eval_loss": NaN, "eval_f1_macro": 0.5}')
    (folder / "cv.json").write_text("{broken")
    (folder / "secret.txt").write_text("secret")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    films = save_model(folder / "films")
    add_documents(films)
    return {
        "films": films,
        "tags": save_model(folder / "tags", "multi_label"),
        "reviews": save_model(folder / "reviews", "multi_aspect"),
        "essays": save_model(folder / "essays", "regression", label_space=TARGETS),
        "commands": RUNS / "onnx_joint",
    }


@pytest.fixture(scope="module")
def server(models):
    flags = []
    for name, path in models.items():
        flags += ["--model", f"{name}={path}"]
    with running(*flags, "--max_texts", 5, "--max_body_bytes", 2000) as server:
        yield server


# --- its own files ----------------------------------------------------------------------------------------------------


def references(text: str) -> set[str]:
    """What a file of the page names: in HTML, in imports, and in the requests that it makes."""
    found = set(re.findall(r'(?:href|src)="([^"#]+)"', text))
    found |= set(re.findall(r'from "\./([^"]+)"', text))
    return found


def test_everything_that_the_page_names_is_on_this_server(server):
    """Each file is served with the policy that forbids other hosts; all of them are reached from the page."""
    reached = {"/"}
    waiting = ["/"]
    while waiting:
        route = waiting.pop()
        reply = server.get(route)
        assert reply.status == 200, route
        if route == "/openapi.json":
            continue
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy and reply.headers["x-content-type-options"] == "nosniff"
        for name in references(reply.content):
            found = f"/page/{name}" if route.startswith("/page/") else f"/{name}"
            if found not in reached:
                reached.add(found)
                waiting.append(found)
    assert reached - {"/openapi.json"} == asset_routes().keys()
    assert server.get("/").headers["content-type"].startswith("text/html")
    assert server.get("/page/main.js").headers["content-type"].startswith("text/javascript")


def test_no_file_of_the_page_names_another_host():
    """No font, script, style or picture from elsewhere, and nothing that the policy would have to allow inline."""
    files = list(STATIC.iterdir())
    assert len(files) > 10
    for path in files:
        text = path.read_text(encoding="utf-8").replace(NAMESPACE, "")
        assert not re.search(r"""https?://|["'(]//\w|@import|url\(""", text), path.name
        assert not re.search(r"innerHTML|insertAdjacentHTML|\beval\(|document\.write", text), (
            path.name
        )
    html = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|\son\w+=|<script(?! type=\"module\" src=)", html)


def test_an_unchanged_file_is_not_sent_again(server):
    """The browser asks with the tag that it was given."""
    tag = server.get("/page/main.js").headers["etag"]
    again = server.get("/page/main.js", **{"If-None-Match": tag})
    assert again.status == 304 and again.content == ""
    assert server.get("/page/main.js", **{"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/index.html",
        "/page/../page.py",
        "/page/%2e%2e/page.py",
        "/page/..%2fpage.py",
        "/page//etc/passwd",
        "/page/documents/README.md",
        "/page/secret.txt",
        "/page/image?number=0&model=films",
        "/page/image?number=-1&model=films",
        "/page/image?number=1000&model=films",
        "/page/image?number=2&model=../films",
        "/page/documents?model=/etc/passwd",
        "/file=/etc/passwd",
        "/upload",
        "/proxy=http://127.0.0.1/",
    ],
)
def test_no_route_reads_a_path_that_a_client_names(server, path):
    """Nor a document that is no picture; Gradio's routes are not there."""
    reply = server.get(path)
    assert reply.status == 404, reply.content
    assert "secret" not in json.dumps(reply.content)


# --- rows of a file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["films", "tags", "reviews", "essays", "commands"])
def test_rows_are_those_of_predict(server, models, tmp_path, name):
    """Columns and cells, as `predict --output FILE.csv` writes them, in its order."""
    predictor = load_predictor(models[name], provider="cpu")
    write_answers(str(tmp_path / "a.csv"), predictor.predict(TEXTS), predictor.task.join)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        header, *expected = csv.reader(file)
    status, content, _ = server.post({"texts": TEXTS, "model": name}, "/page/rows")
    assert status == 200 and content["columns"] == header
    for cells, known in zip(content["rows"], expected, strict=True):
        for cell, text in zip(cells, known, strict=True):
            if isinstance(cell, (int, float)):
                assert cell == pytest.approx(float(text), abs=1e-5)
            else:
                assert cell == text


@pytest.mark.parametrize(
    "body, status, reason",
    [
        ({"texts": ["a"] * 6}, 422, "texts: 6 texts, more than the 5"),
        ({"texts": ["a", 1]}, 422, "texts.1: Input should be a valid string"),
        ({"text": "a"}, 422, "texts: Field required"),
        ({"texts": ["b" * 3000]}, 413, "more than 2000 bytes"),
        ({"texts": ["a"], "model": "../films"}, 404, "there is no such model"),
    ],
)
def test_rows_have_the_limits_of_the_api(server, body, status, reason):
    """The same body, queue and errors as /predict."""
    reply = server.post(body, "/page/rows")
    assert reply.status == status and reason in reply.content["error"]


# --- card, metrics, plots ---------------------------------------------------------------------------------------------


def test_documents_of_a_model(server):
    """What is there and whole; a number that JSON lacks is null, and pictures are asked for by number."""
    content = server.get("/page/documents?model=films").content
    assert content["documents"] == [
        {"name": "README.md", "kind": "markdown", "content": "# Films, 电影"},
        {
            "name": "metrics.json",
            "kind": "json",
            "content": {"eval_loss": None, "eval_f1_macro": 0.5},
        },
        {"name": "plots/curves.png", "kind": "image", "number": 2},
    ]
    connection = server.connect()
    connection.request("GET", "/page/image?number=2&model=films")
    reply = connection.getresponse()
    assert reply.read() == PNG + b"curves" and reply.headers["content-type"] == "image/png"
    connection.close()
    assert server.get("/page/documents?model=tags").content["documents"] == []
    bad = server.get("/page/image?number=secret")
    assert bad.status == 422 and bad.content["details"][0]["field"] == "number"
    assert "secret" not in json.dumps(bad.content)


def test_documents_of_folds(tmp_path):
    """Those of the run, then those of each fold; a folder that models only happen to lie in is none of theirs."""
    for fold in ("fold-0", "fold-1"):
        save_onnx(save_model(tmp_path / "cv" / fold) / "model.onnx")
        (tmp_path / "cv" / fold / "README.md").write_text(fold)
    (tmp_path / "cv/README.md").write_text("run")
    predictor = load_predictor(tmp_path / "cv", provider="cpu")
    names = [entry["name"] for entry in listing(read_documents(predictor))]
    assert names == ["fold-0/README.md", "fold-1/README.md"]
    (tmp_path / "cv/cv.json").write_text("{}")
    names = [entry["name"] for entry in listing(read_documents(predictor))]
    assert names == ["cv/README.md", "cv/cv.json", "fold-0/README.md", "fold-1/README.md"]


def test_documents_of_a_model_take_so_much_memory_at_most(tmp_path, monkeypatch):
    """Of the pictures, those that there is room for; the card comes first."""
    folder = save_model(tmp_path / "films")
    (folder / "README.md").write_text("# Films")
    for number in range(3):
        (folder / f"{number}.png").write_bytes(PNG + bytes(92))
    monkeypatch.setattr(documents, "MOST", 7 + 200)
    found = read_documents(load_predictor(folder, provider="cpu"))
    assert [document.name for document in found] == ["README.md", "0.png", "1.png"]


def test_documents_are_those_of_the_model_that_answers(tmp_path):
    """A folder that is written anew shows when its model is loaded anew, not before."""
    folder = save_model(tmp_path / "films")
    (folder / "README.md").write_text("old")
    with running("--model", folder) as server:
        (folder / "README.md").write_text("new")
        assert server.get("/page/documents").content["documents"][0]["content"] == "old"
        server.signal(signal.SIGHUP)
        server.wait_for("films: version")
        assert server.get("/page/documents").content["documents"][0]["content"] == "new"


# --- who may see it ---------------------------------------------------------------------------------------------------


def test_the_page_with_a_key(models):
    """The page itself is open, and asks for the key; whatever it shows of a model needs it."""
    with running("--model", models["films"], env={"TRAINER_EXT_API_KEY": KEY}) as server:
        for route in asset_routes():
            assert server.get(route).status == 200
        for route in ("/info", "/page/documents"):
            assert server.get(route).status == 401
            assert server.get(route, Authorization=f"Bearer {KEY}").status == 200
        assert server.get("/page/image?number=2").status == 401
        assert server.post({"texts": ["good"]}, "/page/rows").status == 401
        assert server.get("/page/nothing").status == 401


def test_without_the_page(models):
    """--page false: neither the page nor its routes, the API as before."""
    with running("--model", models["films"], "--page", "false") as server:
        for route in ("/", "/page/main.js", "/page/documents"):
            assert server.get(route).status == 404
        assert server.post({"texts": ["good"]}, "/page/rows").status == 404
        assert "/page/rows" not in server.get("/openapi.json").content["paths"]
        assert server.post({"text": "good"}).status == 200


# --- in JavaScript ----------------------------------------------------------------------------------------------------


def test_what_the_page_computes():
    """csv, slots, cards and parts of a file, by literal values (tests/node/page_units.mjs)."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [node, "--test", ROOT / "tests/node/page_units.mjs"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
