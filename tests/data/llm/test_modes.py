"""What becomes of answers: kept, left out with the reason, new rows."""

from trainer_ext.data.io.readers import Row
from trainer_ext.data.llm.answers import Judgement, Paraphrases, pseudo_label
from trainer_ext.data.llm.job import Outcome
from trainer_ext.data.llm.modes import Paraphraser, judge, label

ROW = Row({"id": 4, "text": "这家店第一次来", "label": "a"}, "f, row 2")


def outcome(answer) -> Outcome:
    return Outcome(2, ROW, answer=answer)


def judged(keep: bool, score: float) -> tuple:
    (result,) = judge(outcome(Judgement(keep=keep, score=score, reason="why")), 0.5)
    return result


def test_the_judge():
    assert judged(True, 0.5) == ({**ROW.values, "judge_score": 0.5, "judge_reason": "why"}, None)
    assert judged(True, 0.49) == (None, "judged below the threshold 0.5 (score 0.49): why")
    assert judged(False, 0.9) == (None, "judged not to keep (score 0.9): why")


def test_pseudo_labels():
    answer = pseudo_label(["b", "c"])(label="b", reason="why")
    assert list(label(outcome(answer), "topic")) == [
        ({**ROW.values, "topic": "b", "explanation": "why"}, None)
    ]


def test_paraphrases_that_are_taken_and_those_that_are_not():
    mode = Paraphraser("text", "id", 9)
    mode.know(ROW)
    mode.know(Row({"id": 5, "text": "别的文本在这里", "label": "b"}, "f"))
    texts = [
        "头一回来这家店",
        "这家店第一次来 ",
        "头一回来这家店",
        "别的文本在这里",
        "",
        "店",
        "很" * 50,
        "我第一次光顾本店",
    ]
    results = list(mode(outcome(Paraphrases(texts=texts))))
    made = [values for values, _ in results if values]
    assert [row["text"] for row in made] == [texts[0], texts[7]]
    assert made[0] == {
        "id": "4-llm1",
        "text": texts[0],
        "label": "a",
        "source_id": 4,
        "operation": "llm",
    }
    assert made[1]["id"] == "4-llm2"
    reasons = [reason.partition(":")[0].partition(" (")[0] for _, reason in results if reason]
    there = "a text that is there already"
    assert reasons == ["unchanged", there, there, "empty", "too short", "too long"]


def test_no_more_than_were_asked_for():
    mode = Paraphraser("text", "id", 1)
    (first,) = mode(outcome(Paraphrases(texts=["头一回来这家店", "我第一次光顾本店"])))
    assert first[0]["source_id"] == 4


def test_rows_made_before_count():
    """The next id of the source is a new one."""
    mode = Paraphraser("text", "id", 1)
    mode.know(Row({"id": "4-llm1", "text": "x", "source_id": 4, "operation": "llm"}, "f"))
    ((row, _),) = mode(outcome(Paraphrases(texts=["头一回来这家店"])))
    assert row["id"] == "4-llm2"
