"""Compose the sample restaurant reviews of the quickstart from hand-written fragments.

Usage: ``python data/reviews/make_reviews.py [--output_dir DIR] [--seed 42]``

Every text is composed of the fragments in ``fragments.json``, which were written for this project. The same seed gives
the same bytes on every machine. The only source of chance is ``random.Random.random``, whose sequence Python
guarantees. All weights are integers, because sums of floats differ between Python versions. No step depends on hashing,
locale or platform line ends.
"""

import argparse
import csv
import json
import random
import re
from collections.abc import Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

HERE = Path(__file__).resolve().parent
SPLIT_ROWS = {"train": 3000, "validation": 500, "test": 500}
NOT_MENTIONED, NEGATIVE, NEUTRAL, POSITIVE = -2, -1, 0, 1
POLARITIES = (NEGATIVE, NEUTRAL, POSITIVE)

MOOD_WEIGHTS = {"good": 52, "mixed": 32, "bad": 16}
# Factors on the polarity weights of an aspect (negative, neutral, positive): a bad evening colours most of a review.
MOOD_FACTORS = {"good": (5, 8, 15), "mixed": (10, 15, 8), "bad": (32, 10, 3)}
MOOD_STARS = {"good": 0.5, "mixed": 0.0, "bad": -0.6}
ASPECT_COUNT_WEIGHTS = {3: 24, 4: 30, 5: 23, 6: 13, 7: 6, 8: 4}

# Share of the labels of mentioned aspects that are wrong, as when an annotator makes a mistake.
LABEL_NOISE = 0.025
# Share of the wordings in validation and test that train never shows.
HELD_OUT_SHARE = 0.4
# Chances per clause ...
SECOND_CLAUSE, MIDDLE, CONCESSION = 0.1, 0.08, 0.25
# ... and per review.
OPENING, CLOSING, ASCII_COMMAS, QUOTED_DISH, LINE_BREAK = 0.45, 0.35, 0.06, 0.06, 0.06

TURNS = ("better", "worse", "concession")
ALTERNATIVES = re.compile(r"\[([^\]]+)\]")
SLOT = re.compile(r"\{(\w+)\}")


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """Return one of the items, each as likely as the others."""
    return items[int(rng.random() * len(items))]


def pick_weighted(rng: random.Random, weights: dict[T, int]) -> T:
    """Return one of the keys, each as likely as its weight says."""
    point = rng.random() * sum(weights.values())
    end = 0
    for key, weight in weights.items():
        end += weight
        if point < end:
            return key
    raise ValueError("no weight is above 0")


def pick_several(rng: random.Random, weights: dict[T, int], count: int) -> list[T]:
    """Return `count` different keys in the order drawn, heavier keys more often."""
    left = dict(weights)
    chosen: list[T] = []
    for _ in range(count):
        key = pick_weighted(rng, left)
        del left[key]
        chosen.append(key)
    return chosen


def shuffled(rng: random.Random, items: Sequence[T]) -> list[T]:
    """Return the items in a random order."""
    left = list(items)
    order: list[T] = []
    while left:
        place = int(rng.random() * len(left))
        order.append(left.pop(place))
    return order


def connective_kind(polarity: int | None, following: int | None) -> str:
    """Return which connectives fit between two clauses; None stands for a filler without a polarity."""
    if polarity is None or following is None:
        return "filler"
    if polarity * following >= 0:
        return "same"
    if following > 0:
        return "better"
    return "worse"


class ReviewMaker:
    """Draws labelled reviews; one instance makes all splits, so that no text occurs twice."""

    def __init__(self, source: dict[str, Any], seed: int) -> None:
        self.source = source
        self.aspects: dict[str, Any] = source["aspects"]
        self.rng = random.Random(seed)
        self.seen: set[str] = set()

    def make_row(self, index: int, split: str) -> list[str]:
        """Return one CSV row whose text was not made before."""
        while True:
            mood = pick_weighted(self.rng, MOOD_WEIGHTS)
            labels = self.draw_labels(mood)
            text = self.compose(labels, mood, split)
            if text not in self.seen:
                break
        self.seen.add(text)
        star = self.draw_star(labels, mood)
        noisy = {aspect: self.add_noise(label) for aspect, label in labels.items()}
        row = [str(index), text, f"{star:.1f}"]
        for aspect in self.aspects:
            label = noisy.get(aspect, NOT_MENTIONED)
            row.append(str(label))
        return row

    def draw_labels(self, mood: str) -> dict[str, int]:
        """Return the mentioned aspects, in order of mention, with their polarities."""
        count = pick_weighted(self.rng, ASPECT_COUNT_WEIGHTS)
        mention_weights = {aspect: spec["mention_weight"] for aspect, spec in self.aspects.items()}
        # Heavy aspects are drawn first: shuffle, so that a review need not start with the taste.
        mentioned = shuffled(self.rng, pick_several(self.rng, mention_weights, count))
        return {aspect: self.draw_polarity(aspect, mood) for aspect in mentioned}

    def draw_polarity(self, aspect: str, mood: str) -> int:
        """Return a polarity for the aspect, shifted by the mood of the review."""
        base = self.aspects[aspect]["polarity_weights"]
        weights = {}
        for polarity, factor in zip(POLARITIES, MOOD_FACTORS[mood], strict=True):
            weights[polarity] = base[str(polarity)] * factor
        return pick_weighted(self.rng, weights)

    def draw_star(self, labels: dict[str, int], mood: str) -> int:
        """Return a star rating from 1 to 5 that follows the polarities."""
        mean = sum(labels.values()) / len(labels)
        # int() rounds down, and the chance moves a rating by up to one star.
        star = int(3.0 + 1.7 * mean + MOOD_STARS[mood] + self.rng.random())
        return min(5, max(1, star))

    def add_noise(self, label: int) -> int:
        """Return the label, or rarely a neighbouring polarity or "not mentioned" instead."""
        if self.rng.random() >= LABEL_NOISE:
            return label
        if label == NEUTRAL:
            return pick(self.rng, (NEGATIVE, POSITIVE, NOT_MENTIONED))
        # Neutral twice: a neighbouring polarity is as likely as for a neutral label.
        return pick(self.rng, (NEUTRAL, NEUTRAL, NOT_MENTIONED))

    def draw_fragments(self, aspect: str, polarity: int, split: str) -> list[str]:
        """Return one or two fragments; only the evaluation splits see the held-out wording."""
        wordings = self.aspects[aspect]["fragments"][str(polarity)]
        is_held_out = split != "train" and self.rng.random() < HELD_OUT_SHARE
        pool = shuffled(self.rng, wordings["held_out"] if is_held_out else wordings["train"])
        if self.rng.random() < SECOND_CLAUSE:
            return pool[:2]
        return pool[:1]

    def compose(self, labels: dict[str, int], mood: str, split: str) -> str:
        """Return the text of a review that mentions the labelled aspects in order."""
        clauses: list[tuple[str, int | None]] = []
        if self.rng.random() < OPENING:
            clauses.append((pick(self.rng, self.source["openings"]), None))
        for aspect, polarity in labels.items():
            for fragment in self.draw_fragments(aspect, polarity, split):
                clauses.append((fragment, polarity))
            if self.rng.random() < MIDDLE:
                clauses.append((pick(self.rng, self.source["middles"]), None))
        if self.rng.random() < CLOSING:
            clauses.append((pick(self.rng, self.source["closings"][mood]), None))
        text = self.fill(self.join(clauses))
        if self.rng.random() < ASCII_COMMAS:
            text = text.replace("，", ",")
        return text

    def join(self, clauses: Sequence[tuple[str, int | None]]) -> str:
        """Join clauses with connectives that suit their polarities."""
        connectives = self.source["connectives"]
        full_stop = "。\n" if self.rng.random() < LINE_BREAK else "。"
        text = ""
        kind = "same"
        for (clause, polarity), (_, following) in pairwise(clauses):
            after_turn = kind in TURNS
            kind = connective_kind(polarity, following)
            # "但是虽然..." and "虽然虽然..." would read badly.
            may_concede = kind in TURNS and not after_turn and "虽然" not in clause
            if may_concede and self.rng.random() < CONCESSION:
                clause = f"虽然{clause}"
                kind = "concession"
            connective = pick(self.rng, connectives[kind])
            if connective == "。":
                connective = full_stop
            text += clause + connective
        last_clause, _ = clauses[-1]
        return text + last_clause + pick(self.rng, connectives["end"])

    def fill(self, text: str) -> str:
        """Resolve the ``[a|b]`` alternatives and the ``{slots}`` of a review."""
        cuisine = pick(self.rng, list(self.source["cuisines"].values()))
        quote = '"' if self.rng.random() < QUOTED_DISH else ""
        # Each mention takes the next dish, so that a review does not praise and damn the same one.
        dishes = cycle(shuffled(self.rng, cuisine["dishes"]))
        per_review = {**self.source["review_slots"], "shop": cuisine["shops"]}
        fixed = {slot: pick(self.rng, values) for slot, values in per_review.items()}

        def choose(match: re.Match[str]) -> str:
            return pick(self.rng, match[1].split("|"))

        def value(match: re.Match[str]) -> str:
            slot = match[1]
            if slot == "dish":
                return f"{quote}{next(dishes)}{quote}"
            if slot in fixed:
                return fixed[slot]
            return pick(self.rng, self.source["slots"][slot])

        text = ALTERNATIVES.sub(choose, text)
        return SLOT.sub(value, text)


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a CSV file as UTF-8 without BOM and with LF line ends on every platform."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main() -> None:
    """Write train.csv, validation.csv and test.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=HERE)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()

    source = json.loads((HERE / "fragments.json").read_text(encoding="utf-8"))
    maker = ReviewMaker(source, args.seed)
    header = ["index", "reviewbody", "star", *maker.aspects]
    args.output_dir.mkdir(parents=True, exist_ok=True)
    index = 0
    for split, count in SPLIT_ROWS.items():
        rows = [maker.make_row(index + offset, split) for offset in range(1, count + 1)]
        index += count
        write_csv(args.output_dir / f"{split}.csv", header, rows)


if __name__ == "__main__":
    main()
