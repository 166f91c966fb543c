"""What becomes of answers: kept, left out with the reason, new rows."""

from trainer_ext.data.io.readers import Row
from trainer_ext.data.llm.answers import Judgement, Paraphrases, pseudo_label
from trainer_ext.data.llm.modes import Judge, Kept, Labeller, LeftOut, Paraphraser

ROW = Row({"id": 4, "text": "这家店第一次来", "label": "a"}, "f, row 2")


def judged(keep: bool, score: float) -> Kept | LeftOut:
    answer = Judgement(keep=keep, score=score, reason="why")
    (result,) = Judge(0.5).results(ROW, answer)
    return result


def test_the_judge():
    assert judged(True, 0.5) == Kept({**ROW.values, "judge_score": 0.5, "judge_reason": "why"})
    assert judged(True, 0.49) == LeftOut("judged below the threshold 0.5 (score 0.49): why")
    assert judged(False, 0.9) == LeftOut("judged not to keep (score 0.9): why")


def test_pseudo_labels():
    answer = pseudo_label(["b", "c"])(label="b", reason="why")
    assert list(Labeller("topic").results(ROW, answer)) == [
        Kept({**ROW.values, "topic": "b", "explanation": "why"})
    ]


def test_paraphrases_that_are_taken_and_those_that_are_not():
    mode = Paraphraser("text", "id", 9)
    mode.remember(ROW)
    mode.remember(Row({"id": 5, "text": "别的文本在这里", "label": "b"}, "f"))
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
    results = list(mode.results(ROW, Paraphrases(texts=texts)))
    made = [result.values for result in results if isinstance(result, Kept)]
    assert [row["text"] for row in made] == [texts[0], texts[7]]
    assert made[0] == {
        "id": "4-llm1",
        "text": texts[0],
        "label": "a",
        "source_id": 4,
        "operation": "llm",
    }
    assert made[1]["id"] == "4-llm2"
    faults = [result.reason for result in results if isinstance(result, LeftOut)]
    reasons = [reason.partition(":")[0].partition(" (")[0] for reason in faults]
    there = "a text that is there already"
    assert reasons == ["unchanged", there, there, "empty", "too short", "too long"]


def test_no_more_than_were_asked_for():
    mode = Paraphraser("text", "id", 1)
    (first,) = mode.results(ROW, Paraphrases(texts=["头一回来这家店", "我第一次光顾本店"]))
    assert first.values["source_id"] == 4


def test_rows_made_before_count():
    """The next id of the source is a new one."""
    mode = Paraphraser("text", "id", 1)
    mode.remember(Row({"id": "4-llm1", "text": "x", "source_id": 4, "operation": "llm"}, "f"))
    (result,) = mode.results(ROW, Paraphrases(texts=["头一回来这家店"]))
    assert result.values["id"] == "4-llm2"
