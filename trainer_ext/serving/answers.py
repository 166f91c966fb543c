"""From a request's body to texts, and from a model's outputs to the answer of each route."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

import numpy as np

from trainer_ext.data.io.answers import flat_row
from trainer_ext.errors import UserError
from trainer_ext.inference.texts import prepare_item
from trainer_ext.serving.errors import RequestError, invalid
from trainer_ext.serving.limits import Limits
from trainer_ext.serving.model import ServedModel
from trainer_ext.serving.schemas import ClassifyBody, HubBody, InputsBody, TextBody, TextsBody
from trainer_ext.tasks import Task
from trainer_ext.tasks.activations import sigmoid, softmax

Form = Callable[[Any, Any], Any]
FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": np.asarray,
    "sigmoid": sigmoid,
    "softmax": softmax,
}


@dataclass(frozen=True)
class Question:
    """What a request asks of a model, whatever route it came by.

    Attributes:
        texts: in order.
        places: where each is in the body, for messages.
        form: makes an answer of a prepared text and the model's output.
        finish: makes the response of all answers.
        may_cut: whether a text that is too long is cut; if not, it is refused.
    """

    texts: Sequence[str]
    places: Sequence[str]
    form: Form
    finish: Callable[[list[Any]], Any]
    may_cut: bool = True

    def prepare(self, model: ServedModel, limits: Limits) -> list[Any]:
        """Return the texts as the model's task takes them.

        Raises:
            RequestError: for too many texts, and for one that is too long or cannot be read, with its place.
        """
        if len(self.texts) > limits.texts:
            raise invalid(
                self.places[0].split(".")[0],
                f"{len(self.texts)} texts, more than the {limits.texts} of a request",
            )
        items = []
        for number, (text, place) in enumerate(zip(self.texts, self.places, strict=True), 1):
            if len(text) > limits.characters:
                raise invalid(
                    place, f"{len(text)} characters, more than the {limits.characters} of a text"
                )
            try:
                item = prepare_item(number, text, model.task)
            except UserError as error:
                raise invalid(place, str(error)) from None
            if not self.may_cut and any(
                single.is_too_long(item) for single in model.predictor.singles
            ):
                raise invalid(place, f"more than {model.max_length} tokens, and truncate is false")
            items.append(item)
        return items


# --- /predict with text or texts ------------------------------------------------------------------------------------


def ask_text(body: TextBody, model: ServedModel) -> Question:
    """Return the question of `{"text": ...}`."""
    return Question([body.text], ["text"], text_form(model.task), take_only)


def ask_texts(body: TextsBody, model: ServedModel) -> Question:
    """Return the question of `{"texts": [...]}`."""
    places = places_of("texts", len(body.texts))
    return Question(body.texts, places, text_form(model.task), list)


def text_form(task: Task) -> Form:
    """Return what makes `{"text", "pred_class", "confidence", "status", ...}` with the task's whole answer."""

    def form(item: Any, output: Any) -> dict[str, Any]:
        answer = task.answer(item, output)
        # A text that was split into words is one of their attributes.
        head: dict[str, Any] = {"text": getattr(item, "text", item)}
        # Of several aspects or scores there is no one class.
        if task.class_key:
            head["pred_class"] = answer[task.class_key]
        if task.confidence_key:
            head["confidence"] = answer[task.confidence_key]
        return {**head, "status": 200, **answer}

    return form


# --- /predict with inputs -------------------------------------------------------------------------------------------


def ask_inputs(body: InputsBody, model: ServedModel) -> Question:
    """Return the question of `{"inputs": ...}`: labels with scores, the best first.

    Raises:
        RequestError: for a model without class probabilities.
    """
    check_has_classes(model)
    form = scores_form(model.task, "none" if body.raw_scores else None, None)
    inputs = body.inputs
    if isinstance(inputs, str):
        return Question([inputs], ["inputs"], form, take_only, body.truncate)
    texts = []
    # A text alone is answered by itself, a list by a list.
    is_batch = False
    for item in inputs:
        is_batch |= not isinstance(item, str)
        texts += [item] if isinstance(item, str) else item
    places = places_of("inputs", len(texts))
    return Question(texts, places, form, list if is_batch else take_only, body.truncate)


def ask_hub(body: HubBody, model: ServedModel) -> Question:
    """Return the question of `{"inputs", "parameters"}`; the answer is a list of lists for one text, too.

    Raises:
        RequestError: for a model without class probabilities.
    """
    check_has_classes(model)
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    parameters = body.parameters
    form = scores_form(model.task, parameters.function_to_apply, parameters.top_k)
    return Question(texts, places_of("inputs", len(texts)), form, list)


def scores_form(task: Task, function: str | None, top: int | None) -> Form:
    """Return what makes `[{"label", "score"}, ...]`, the best first.

    Args:
        task: whose answers have probabilities by class.
        function: `none` (logits), `sigmoid` or `softmax`; None: the task's own.
        top: how many classes; None: all.
    """

    def form(item: Any, output: Any) -> list[dict[str, Any]]:
        scores = class_scores(task, item, output, function)
        # Stable, so that equal scores keep the order of the classes.
        order = np.argsort(-scores, kind="stable")[:top]
        classes = task.label_space.classes
        return [{"label": classes[k], "score": float(scores[k])} for k in order]

    return form


def class_scores(task: Task, item: Any, output: Any, function: str | None) -> np.ndarray:
    """Return a score for each class, (C,): the probabilities of the task's answer, or a function of the logits."""
    if function is None:
        return np.array(list(task.answer(item, output)["probabilities"].values()))
    # In double precision, as the task computes its own probabilities.
    logits = np.asarray(output, dtype=np.float64)
    return np.asarray(FUNCTIONS[function](logits))


# --- /page/rows -----------------------------------------------------------------------------------------------------


def ask_rows(body: TextsBody, model: ServedModel) -> Question:
    """Return the question of the page for a part of a file: rows as `predict --output FILE.csv` writes them."""
    task = model.task

    def form(item: Any, output: Any) -> dict[str, Any]:
        return flat_row(task.answer(item, output), task.join)

    return Question(body.texts, places_of("texts", len(body.texts)), form, rows_response)


def rows_response(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the columns once, and a list of cells for each row.

    JavaScript would put keys that are numbers (a target called 2020) before all others.
    """
    cells = [list(row.values()) for row in rows]
    return {"columns": list(rows[0]), "rows": cells}


# --- /v1/classify ---------------------------------------------------------------------------------------------------


def ask_classify(body: ClassifyBody, model: ServedModel) -> Question:
    """Return the question of `{"model", "input"}`.

    Raises:
        RequestError: for a model without class probabilities.
    """
    check_has_classes(model)
    if isinstance(body.input, str):
        texts, places = [body.input], ["input"]
    else:
        texts, places = body.input, places_of("input", len(body.input))
    task = model.task

    def form(item: Any, output: Any) -> dict[str, Any]:
        answer = task.answer(item, output)
        probabilities = answer["probabilities"]
        label = answer[task.class_key]
        # Of several labels, or none, the most probable.
        if not isinstance(label, str):
            label = max(probabilities, key=probabilities.__getitem__)
        return {
            "label": label,
            "probs": list(probabilities.values()),
            "num_classes": len(probabilities),
        }

    return Question(texts, places, form, list)


def classify_response(
    request_id: str, model: str, answers: list[dict[str, Any]], tokens: int
) -> dict[str, Any]:
    """Return vLLM's object around the answers."""
    data = [{"index": index, **answer} for index, answer in enumerate(answers)]
    return {
        "id": f"classify-{request_id}",
        "object": "list",
        "created": int(time()),
        "model": model,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


# --- all routes -----------------------------------------------------------------------------------------------------


def check_has_classes(model: ServedModel) -> None:
    """Raise `RequestError` for a model whose answer is no list of classes with probabilities."""
    if not model.task.answers_by_class:
        raise RequestError(
            422,
            "Validation",
            f"model {model.name} is for {model.task.name}, whose answer is no list of labels with scores; "
            'send {"text": ...}',
        )


def places_of(field: str, count: int) -> list[str]:
    """Return `texts.0`, `texts.1`, ..."""
    return [f"{field}.{number}" for number in range(count)]


def take_only(answers: list[Any]) -> Any:
    """Return the answer of a request with one text."""
    # There is one, as the request had one text.
    (answer,) = answers
    return answer
