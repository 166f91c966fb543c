"""`python -m trainer_ext.data.llm` from end to end, against the server that misbehaves."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import ROOT, run_script
from tests.data.llm.conftest import Reply
from trainer_ext.cli.llm import main
from trainer_ext.errors import UserError

ROWS = [{"id": k, "text": f"this is the text of row {k}", "label": "a"} for k in range(12)]


def number_in(request: dict) -> int:
    """Which row a request is about."""
    text = request["messages"][1]["content"]
    return int(text.rpartition("text of row ")[2].split()[0])


def judge_reply(n: int, request: dict) -> Reply:
    """Rows 3 and 7 are not worth keeping."""
    keep = number_in(request) not in (3, 7)
    return Reply(
        json.dumps(
            {"keep": keep, "score": 0.9 if keep else 0.1, "reason": f"row {number_in(request)}"}
        )
    )


@pytest.fixture
def job(server, tmp_path):
    """Runs the command in this process; returns (rows written, rows left out)."""
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    server.script = judge_reply

    def run(mode: str = "filter", *flags, name: str = "out.jsonl"):
        argv = [
            "--mode",
            mode,
            "--input",
            source,
            "--output",
            tmp_path / name,
            "--base_url",
            server.url,
            "--model",
            "m",
        ]
        main([str(item) for item in [*argv, "--retry_wait", "0.001", *flags]])
        return [
            lines(tmp_path / path) for path in (name, name.replace(".jsonl", ".rejected.jsonl"))
        ]

    run.source, run.folder = source, tmp_path
    return run


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_filter(job, server, capsys):
    kept, rejected = job()
    assert [row["id"] for row in kept] == [k for k in range(12) if k not in (3, 7)]
    assert kept[0] == {**ROWS[0], "judge_score": 0.9, "judge_reason": "row 0"}
    assert [(row["row"], row["values"]["id"]) for row in rejected] == [(4, 3), (8, 7)]
    assert rejected[0]["reason"] == "judged not to keep (score 0.1): row 3"
    table = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert table == {
        "rows in": "12",
        "rows out": "10",
        "rejected": "2",
        "not asked": "0",
        "requests": "12",
    } | {
        "from the cache": "0",
        "tokens": "120",
    }
    assert job() == [kept, rejected] and len(server.requests) == 12  # all from the cache
    job("filter", "--threshold", "0.95")
    assert len(server.requests) == 12  # what is done with a reply asks for nothing
    job("filter", "--temperature", "0.3", "--max_requests", "1")
    assert len(server.requests) == 13  # what decides the reply does


def test_answers_come_in_the_order_of_the_rows(job, server):
    """Whatever the order in which the server is done; several requests are under way at once."""
    together, most, lock = [0], [0], threading.Lock()

    def script(n: int, request: dict) -> Reply:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.002 * (12 - number_in(request)))
        with lock:
            together[0] -= 1
        return judge_reply(n, request)

    server.script = script
    kept, _ = job("filter", "--concurrency", "6")
    assert [row["id"] for row in kept] == [k for k in range(12) if k not in (3, 7)]
    assert 1 < most[0] <= 6


def test_augment(job, server):
    def texts(n: int, request: dict) -> Reply:
        k = number_in(request)
        same = f"this is the text of row {k}"
        return Reply(
            json.dumps({"texts": [f"the text number {k} it is", same, f"row {k} has such a text"]})
        )

    server.script = texts
    out, rejected = job("augment", "--num_paraphrases", "3")
    assert out[:12] == ROWS and len(out) == 36
    assert out[12] == {
        **ROWS[0],
        "id": "0-llm1",
        "text": "the text number 0 it is",
        "source_id": 0,
        "operation": "llm",
    }
    assert [row["reason"].partition(":")[0] for row in rejected] == ["unchanged"] * 12


def test_rows_without_ids_get_one_where_rows_are_made_from_them(job, server):
    """Their number; what is only filtered stays as it is."""
    job.source.write_text(
        "".join(json.dumps({"text": row["text"], "label": "a"}) + "\n" for row in ROWS)
    )
    assert "id" not in job()[0][0]
    server.script = lambda n, request: Reply(
        json.dumps({"texts": [f"the text number {number_in(request)} it is"]})
    )
    out, _ = job("augment")
    assert [row["id"] for row in out[:12]] == [*range(1, 13)]
    assert [(row["id"], row["source_id"]) for row in out[12:]] == [
        (f"{k}-llm1", k) for k in range(1, 13)
    ]


def test_label(job, server):
    def script(n: int, request: dict) -> Reply:
        name = "maybe" if number_in(request) == 5 else "NEWS"
        return Reply(json.dumps({"label": name, "reason": "because"}))

    server.script = script
    flags = ["--label_names", "news", "other", "--label_columns", "topic", "--max_retries", "1"]
    out, rejected = job("label", *flags)
    assert len(out) == 11 and out[0] == {**ROWS[0], "topic": "news", "explanation": "because"}
    assert rejected[0]["reason"] == "no valid answer: label: Input should be 'news' or 'other'"
    assert rejected[0]["values"] == ROWS[5] and "maybe" in rejected[0]["reply"]
    assert len(server.requests) == 13
    job("label", *flags)
    assert len(server.requests) == 15  # what was rejected is asked for again, and nothing else
    server.script = lambda n, request: Reply('{"label": "other", "reason": "well again"}')
    out, rejected = job("label", *flags)
    assert len(server.requests) == 16 and out[5] == {
        **ROWS[5],
        "topic": "other",
        "explanation": "well again",
    }
    assert (len(out), rejected) == (12, [])


@pytest.mark.parametrize(
    "mode, half",
    [("augment", "\\ud83d"), ("augment", "\ud83d"), ("filter", "\ud83d"), ("label", "\\ud83d")],
)
def test_half_a_surrogate_pair_is_no_answer_and_does_not_stay(job, server, mode, half):
    """As models send it that cut an emoji in two, as JSON writes it or as it is."""
    good = {
        "texts": ["other words for it, as long"],
        "keep": True,
        "score": 1,
        "label": "news",
        "reason": "HALF",
    }
    bad = json.dumps({**good, "texts": ["cut emoji, as long as it is: HALF"]}).replace("HALF", half)

    def well(n: int, request: dict) -> Reply:
        return Reply(json.dumps(good).replace("as long", f"row {number_in(request)}"))

    server.script = lambda n, request: Reply(bad) if number_in(request) == 7 else well(n, request)
    flags = (
        ["--label_names", "news", "other", "--label_columns", "topic"] if mode == "label" else []
    )
    out, rejected = job(mode, "--max_retries", "1", *flags)
    assert "half a surrogate pair" in rejected[-1]["reason"] and rejected[-1]["values"] == ROWS[7]
    assert (half if len(half) > 1 else "?") in rejected[-1]["reply"]
    server.script, before = well, len(server.requests)
    again, rejected = job(mode, "--max_retries", "1", *flags)
    assert len(again) == len(out) + 1 and not rejected and len(server.requests) == before + 1
    job(mode, "--max_retries", "1", *flags)
    assert len(server.requests) == before + 1


@pytest.mark.parametrize("mode", ["augment", "filter", "label"])
def test_thinking_models(job, server, mode, capsys):
    """Drafts are no answers; a reply that was cut off while thinking is none either, and is asked for again."""
    draft = {
        "texts": ["the draft, of such a length"],
        "keep": True,
        "score": 1,
        "label": "news",
        "reason": "draft",
    }
    final = {
        "texts": ["the final, of such a length"],
        "keep": False,
        "score": 0,
        "label": "other",
        "reason": "final",
    }
    thoughts = f"First idea:\n```json\n{json.dumps(draft)}\n```\nOn reflection"
    replies = {
        0: Reply(f"{thoughts}\n</think>\n\n{json.dumps(final)}"),
        1: Reply(f"<think>{thoughts} the label contradicts the", finish_reason="length"),
        2: Reply(json.dumps(draft), finish_reason="length"),
        3: Reply(None, reasoning_content=json.dumps(final)),
        4: Reply(f"<think>{thoughts}"),
    }
    job.source.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:5]))
    server.script = lambda n, request: replies[number_in(request)]
    flags = (
        ["--label_names", "news", "other", "--label_columns", "topic"] if mode == "label" else []
    )
    _, rejected = job(mode, "--max_retries", "1", *flags)
    reasons = {row["row"]: row["reason"] for row in rejected}
    if mode == "filter":
        assert reasons.pop(1) == "judged not to keep (score 0): final"
    assert (
        reasons[2]
        == reasons[3]
        == (
            "no valid answer: the reply was cut off (finish_reason 'length'); --max_tokens allows longer ones"
        )
    )
    assert reasons[4] == "no valid answer: not a JSON object: ''"
    assert reasons[5].startswith("no valid answer: its thoughts have no end: '<think>First idea:")
    assert len(reasons) == 4 and len(server.requests) == 1 + 4 * 2
    assert (
        "the server gave no valid answer to 4 rows: the same command asks for them again"
        in capsys.readouterr().err
    )
    server.script = lambda n, request: Reply(
        json.dumps({**final, "texts": [f"text number {n} of such a length"]})
    )
    out, rejected = job(mode, *flags)
    assert len(server.requests) == 1 + 4 * 2 + 4
    assert {"augment": len(out) == 10, "filter": len(rejected) == 5, "label": len(out) == 5}[mode]
    if mode == "augment":
        assert out[5]["text"] == "the final, of such a length"


def test_a_server_of_all_faults(job, server):
    """Every row comes through, and the second run asks nothing."""
    faults = {
        1: Reply(status=429, headers={"Retry-After": "0"}),
        2: Reply(status=500),
        3: Reply("not json"),
    }
    faults |= {4: Reply("x" * 400, cut=True), 5: Reply(delay=1.0), 6: Reply(body=b"{")}
    server.script = lambda n, request: faults.get(n % 13) or judge_reply(n, request)
    kept, rejected = job("filter", "--timeout", "0.5", "--max_retries", "20")
    assert (len(kept), len(rejected)) == (10, 2)
    count = len(server.requests)
    assert job() == [kept, rejected] and len(server.requests) == count > 12


def test_rows_that_got_no_reply_are_asked_for_again(job, server, capsys):
    def script(n: int, request: dict) -> Reply:
        return Reply(status=500) if number_in(request) == 2 else judge_reply(n, request)

    server.script = script
    kept, rejected = job("filter", "--max_retries", "1")
    assert (
        len(kept) == 9
        and rejected[0]["values"]["id"] == 2
        and rejected[0]["reason"].startswith("no answer: ")
    )
    assert "no reply to 1 rows: the same command asks for them again" in capsys.readouterr().err
    server.script = judge_reply
    assert len(job()[0]) == 10 and len(server.requests) == 14


def test_the_budget_ends_the_job_and_the_next_run_goes_on(job, server, capsys):
    kept, rejected = job("filter", "--max_requests", "5", "--concurrency", "1")
    assert [row["id"] for row in kept] == [0, 1, 2, 4] and len(server.requests) == 5
    assert [row["values"] for row in rejected] == [ROWS[3], *ROWS[5:]], (
        "every row is in one of the files"
    )
    assert {row["reason"] for row in rejected[1:]} == {"not asked: the budget is spent"}
    printed = capsys.readouterr()
    assert "the budget is spent (5 requests, 50 tokens): 7 rows were not asked about" in printed.err
    table = dict(line.rsplit(maxsplit=1) for line in printed.out.splitlines())
    assert (table["rows out"], table["rejected"], table["not asked"]) == ("4", "1", "7")
    assert "The same command goes on" in printed.err
    kept, _ = job("filter", "--max_tokens_total", "25", "--concurrency", "1")
    assert (
        len(server.requests) == 8 and len(kept) == 6
    )  # 30 tokens: known only when the third was answered
    kept, rejected = job()
    assert (len(kept), len(rejected), len(server.requests)) == (10, 2, 12)


def test_equal_rows_are_asked_for_once(job, server):
    """Also when the first of them is still under way."""
    job.source.write_text((json.dumps(ROWS[0]) + "\n") * 8)
    server.script = lambda n, request: Reply(judge_reply(n, request).text, delay=0.2)
    kept, _ = job("filter", "--concurrency", "8")
    assert len(kept) == 8 and len(server.requests) == 1


def test_a_killed_job_goes_on_where_it_stopped(job, server):
    """kill -9 in the middle; what was answered is not asked again, and nothing half-written is there."""
    server.script = lambda n, request: Reply(
        judge_reply(n, request).text, delay=0 if n <= 6 else 60
    )
    argv = [
        "--mode",
        "filter",
        "--input",
        job.source,
        "--output",
        job.folder / "out.jsonl",
        "--concurrency",
        "2",
    ]
    argv = ["-m", "trainer_ext.data.llm", *argv, "--base_url", server.url, "--model", "m"]
    process = subprocess.Popen(
        [sys.executable, *map(str, argv)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 60
    while len(server.requests) < 8 and time.time() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(server.requests) == 8 and not (job.folder / "out.jsonl").exists()
    server.script = judge_reply
    kept, rejected = job()
    assert (len(kept), len(rejected)) == (10, 2)
    assert len(server.requests) == 8 + 6  # two were under way when it was killed


def test_a_server_that_is_not_there_ends_the_job(job, server):
    """One line, and nothing written."""
    server.http.shutdown()
    server.http.server_close()
    argv = [
        "-m",
        "trainer_ext.data.llm",
        "--mode",
        "filter",
        "--input",
        job.source,
        "--base_url",
        server.url,
    ]
    argv += [
        "--output",
        job.folder / "out.jsonl",
        "--model",
        "m",
        "--max_retries",
        "0",
        "--concurrency",
        "1",
    ]
    done = run_script(*argv, real=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        f"error: {server.url} gave no reply to 10 rows in a row"
    )
    assert sorted(path.name for path in job.folder.iterdir()) == [".llm_cache", "rows.jsonl"]


def test_the_key_is_in_no_file(job, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    job()
    files = [path for path in job.folder.rglob("*") if path.is_file()]
    assert len(files) >= 4 and not [
        path for path in files if b"sk-very-secret" in path.read_bytes()
    ]


@pytest.mark.parametrize(
    "mode, flags, message",
    [
        ("filter", ["--base_url", "localhost:8000"], "is not an address"),
        ("filter", ["--base_url", "http://user:pass@host/v1"], "OPENAI_API_KEY"),
        (
            "filter",
            ["--num_paraphrases", "2"],
            "--num_paraphrases 2 has no effect with --mode filter",
        ),
        ("filter", ["--id_column", "id"], "--id_column id has no effect with --mode filter"),
        ("augment", ["--threshold", "0.2"], "--threshold 0.2 has no effect with --mode augment"),
        ("label", [], "needs --label_names"),
        ("label", ["--label_names", "a", "A"], "two or more different labels"),
        ("label", ["--label_names", "a", "b", "--label_columns", "x", "y"], "names 2"),
        (
            "label",
            ["--label_names", "a", "b"],
            "row 1 .*has the label 'a' in column 'label', which would be lost",
        ),
        ("filter", ["--label_columns", "topic"], "row 1 .*there is none in column 'topic'"),
        ("filter", ["--text_column", "body"], "'body' must hold text"),
        ("filter", ["--concurrency", "0"], "concurrency 0 is out of range"),
        ("filter", ["--max_requests", "-1"], "max_requests -1 is out of range"),
        ("filter", ["--threshold", "2"], "threshold 2.0 is out of range"),
    ],
)
def test_refusals_come_before_the_first_request(job, server, mode, flags, message):
    with pytest.raises(UserError, match=message):
        job(mode, *flags)
    assert not server.requests and list(job.folder.iterdir()) == [job.source]


def test_rows_with_slots_are_not_paraphrased(job, server):
    job.source.write_text(
        '{"text": "a b", "tokens": ["a", "b"], "slots": ["O", "B-x"], "label": "i"}\n'
    )
    with pytest.raises(UserError, match="has tokens and slots.*--task joint keeps them"):
        job("augment")
    assert not server.requests
