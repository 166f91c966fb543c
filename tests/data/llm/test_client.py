"""The real `openai` client against a server that misbehaves."""

import json
import threading
import time
from email.utils import formatdate

import pytest

from tests.data.llm.conftest import Reply
from trainer_ext.data.llm.answers import Judgement
from trainer_ext.data.llm.client import Budget, BudgetSpent, Client, NoAnswer
from trainer_ext.errors import UserError

GOOD = '{"keep": true, "score": 0.9, "reason": "ok"}'
CHAT = [{"role": "user", "content": "a question of thirty letters.."}]


def client_of(server, *, budget=None, timeout=5.0, max_retries=3, retry_wait=0.001) -> Client:
    parameters = {"model": "m", "temperature": 0.5}
    return Client(server.url, parameters, budget or Budget(), timeout, max_retries, retry_wait)


def script(server, *replies: Reply) -> None:
    """These replies in order, the last one for ever."""
    server.script = lambda n, request: replies[min(n, len(replies)) - 1]


@pytest.mark.parametrize(
    "bad",
    [
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(status=429),
        Reply(status=500),
        Reply(status=503, body=b"<html>busy</html>"),
        Reply(status=408),
        Reply("not json"),
        Reply(""),
        Reply('{"keep": true, "score": 7, "reason": ""}'),
        Reply(GOOD, cut=True),
        Reply(body=b'{"choices": ['),
        Reply(body=b'{"error": "overloaded", "choices": null}'),
        Reply(body=b'{"choices": []}'),
        Reply(body=b"[]"),
    ],
)
def test_what_is_tried_again(server, bad):
    script(server, bad, bad, Reply(GOOD))
    assert client_of(server).ask(CHAT, Judgement) == GOOD
    assert len(server.requests) == 3
    assert server.requests[2]["model"] == "m" and server.requests[2]["temperature"] == 0.5


def test_a_slow_server(server):
    script(server, Reply(GOOD, delay=1.5), Reply(GOOD))
    assert client_of(server, timeout=0.3).ask(CHAT, Judgement) == GOOD
    assert len(server.requests) == 2


def test_a_server_that_is_not_there(server):
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(NoAnswer, match="Connection error"):
        client_of(server, max_retries=1).ask(CHAT, Judgement)


def test_the_tries_end(server):
    script(server, Reply(status=500, body=b'{"error": {"message": "boom"}}'))
    with pytest.raises(NoAnswer, match=r"500.*boom"):
        client_of(server, max_retries=2).ask(CHAT, Judgement)
    assert len(server.requests) == 3


def test_the_model_is_told_what_was_wrong(server):
    script(server, Reply("well, yes"), Reply('{"keep": 1.5}'), Reply(GOOD))
    client_of(server).ask(CHAT, Judgement)
    second, third = (request["messages"] for request in server.requests[1:])
    assert second[:2] == [*CHAT, {"role": "assistant", "content": "well, yes"}]
    assert "not a JSON object" in second[2]["content"]
    assert (
        len(third) == 3 and "keep" in third[2]["content"]
    )  # the chat does not grow from try to try


def test_a_model_that_never_answers_validly_has_answered(server):
    """Its last reply comes back, so that it can be kept and is not asked for again."""
    script(server, Reply("no"))
    assert client_of(server, max_retries=2).ask(CHAT, Judgement) == "no"
    assert len(server.requests) == 3


def test_waits(server, monkeypatch):
    """What Retry-After says, as seconds or as a date; else doubling, up to a minute."""
    client, waits = client_of(server, retry_wait=1.0, max_retries=11), []
    monkeypatch.setattr(client.stopped, "wait", lambda seconds: waits.append(seconds) or False)
    past, future = formatdate(usegmt=True), formatdate(time.time() + 300, usegmt=True)
    asked = ("7", "0.25", "100000", "-3", past, future)
    replies = [Reply(status=429, headers={"Retry-After": after}) for after in asked]
    script(
        server,
        *replies,
        *[Reply(status=500)] * 4,
        Reply(status=500, headers={"Retry-After": "soon"}),
        Reply(GOOD),
    )
    client.ask(CHAT, Judgement)
    assert waits[:5] == [7, 0.25, 600, 0, 0]
    assert 290 < waits[5] <= 300
    assert len(waits[6:]) == 5 and all(30 <= wait <= 60 for wait in waits[6:])


def test_waits_double(server, monkeypatch):
    client, waits = client_of(server, retry_wait=1.0, max_retries=8), []
    monkeypatch.setattr(client.stopped, "wait", lambda seconds: waits.append(seconds) or False)
    script(server, *[Reply(status=500)] * 8, Reply(GOOD))
    client.ask(CHAT, Judgement)
    for wait, full in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60), strict=True):
        assert full / 2 <= wait <= full


def test_a_stopped_job_does_not_wait(server):
    """Else one wrong key would keep the others waiting for a minute."""
    client = client_of(server, retry_wait=60.0)
    script(server, Reply(status=500))
    threading.Timer(0.2, client.stopped.set).start()
    began = time.monotonic()
    with pytest.raises(BudgetSpent):
        client.ask(CHAT, Judgement)
    assert time.monotonic() - began < 10 and len(server.requests) == 1


def test_looser_formats_where_the_server_refuses(server):
    """json_schema, then json_object, then none; what it refused is not sent again."""

    def refuse(n: int, request: dict) -> Reply:
        kind = request.get("response_format", {}).get("type")
        return Reply(status=400, body=b'{"error": "response_format"}') if kind else Reply(GOOD)

    server.script = refuse
    client = client_of(server)
    assert client.ask(CHAT, Judgement) == client.ask(CHAT, Judgement) == GOOD
    kinds = [request.get("response_format", {}).get("type") for request in server.requests]
    assert kinds == ["json_schema", "json_object", None, None]
    sent = server.requests[0]["response_format"]["json_schema"]
    assert sent["strict"] is True and sent["schema"]["required"] == ["reason", "keep", "score"]


def test_a_request_that_is_at_fault_itself(server):
    """400 in every format is this row's fault: not repeated, and the formats stay."""
    script(
        server, *[Reply(status=400, body=b'{"error": {"message": "too long"}}')] * 3, Reply(GOOD)
    )
    client = client_of(server)
    with pytest.raises(NoAnswer, match="too long"):
        client.ask(CHAT, Judgement)
    assert len(server.requests) == 3
    client.ask(CHAT, Judgement)
    assert server.requests[3]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_repetition_can_change_ends_the_job(server, monkeypatch, status):
    """The message holds the server's reason, never the key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    script(server, Reply(status=status, body=b'{"error": {"message": "not with sk-very-secret"}}'))
    with pytest.raises(UserError, match=r"refuses model 'm': .*not with \*\*\*") as caught:
        client_of(server).ask(CHAT, Judgement)
    assert "sk-very-secret" not in str(caught.value) and len(server.requests) == 1
    assert server.headers[0]["authorization"] == "Bearer sk-very-secret"


def test_a_reply_that_repeats_the_key_is_kept_without_it(server, monkeypatch):
    """Also an error whose end is cut off inside of it, and a key with the line end of the file it came from."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret\r\n")
    script(server, Reply('{"keep": true, "score": 0.9, "reason": "you are sk-very-secret"}'))
    assert json.loads(client_of(server).ask(CHAT, Judgement))["reason"] == "you are ***"
    text = client_of(server).describe(ValueError("x" * 290 + "sk-very-secret"))
    assert text == "x" * 290 + "***"
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    script(server, Reply('{"keep": true, "score": 0.9, "reason": "EMPTY"}'))
    assert json.loads(client_of(server).ask(CHAT, Judgement))["reason"] == "EMPTY"


def test_the_key_is_in_no_log(server, monkeypatch, caplog):
    """Not even in what the libraries below log for debugging."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    script(server, Reply(status=500, body=b'{"error": {"message": "not with sk-very-secret"}}'))
    with caplog.at_level("DEBUG"), pytest.raises(NoAnswer):
        client_of(server, max_retries=1).ask(CHAT, Judgement)
    assert "HTTP" in caplog.text and "sk-very-secret" not in caplog.text


def test_no_key_is_needed(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    script(server, Reply(GOOD))
    client_of(server).ask(CHAT, Judgement)
    assert server.headers[0]["authorization"] == "Bearer none"


def test_ten_rows_without_reply_end_the_job(server):
    script(server, Reply(status=500))
    client = client_of(server, max_retries=0)
    for _ in range(9):
        with pytest.raises(NoAnswer):
            client.ask(CHAT, Judgement)
    with pytest.raises(
        UserError, match=f"{server.url} gave no reply to 10 rows in a row.*the same command goes on"
    ):
        client.ask(CHAT, Judgement)


def test_the_budget_in_requests_is_never_passed(server):
    """Repetitions count, over all threads."""
    server.script = lambda n, request: Reply(status=500) if n % 2 else Reply(GOOD)
    client, spent = client_of(server, budget=Budget(max_requests=7)), []

    def work() -> None:
        try:
            while True:
                client.ask(CHAT, Judgement)
        except BudgetSpent:
            spent.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 7 and len(spent) == 4


@pytest.mark.parametrize("usage, tokens", [(True, 10), (False, (30 + len(GOOD)) // 3)])
def test_the_budget_in_tokens(server, usage, tokens):
    """Counted by the server, else estimated from the characters."""
    script(server, Reply(GOOD, usage=usage))
    budget = Budget(max_tokens=tokens + 1)
    client = client_of(server, budget=budget)
    client.ask(CHAT, Judgement)
    assert budget.tokens == tokens
    client.ask(CHAT, Judgement)
    with pytest.raises(BudgetSpent):
        client.ask(CHAT, Judgement)
    assert len(server.requests) == 2


def test_every_request_sent_counts(server):
    """Also those that the client repeats by itself, and those of a body that is not a completion."""
    bad = Reply(body=b'{"error": "overloaded", "choices": null}')
    script(server, Reply(status=500), bad, Reply("no"), Reply(status=503), Reply(GOOD))
    budget = Budget()
    assert client_of(server, budget=budget, max_retries=4).ask(CHAT, Judgement) == GOOD
    assert budget.requests == len(server.requests) == 5
    assert budget.tokens == 10 + 10 + 30 // 3


def test_a_row_is_asked_for_no_more_often_than_allowed(server):
    """Repetitions of a request count as tries for a valid answer."""
    script(server, *[Reply(status=500)] * 3, Reply("no"), Reply(GOOD))
    assert client_of(server, max_retries=3).ask(CHAT, Judgement) == "no"
    assert len(server.requests) == 4


def test_a_body_that_is_never_a_completion_is_named(server):
    script(server, Reply(body=b"<html>sign in</html>"))
    with pytest.raises(NoAnswer, match="the body is not JSON"):
        client_of(server, max_retries=1).ask(CHAT, Judgement)
    assert len(server.requests) == 2
