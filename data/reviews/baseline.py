"""Score simple baselines on the sample reviews, to show how hard they are.

Usage: ``python data/reviews/baseline.py [--split validation|test]`` (needs scikit-learn and pandas)
"""

import argparse
from pathlib import Path

import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

HERE = Path(__file__).resolve().parent
LABELS = [-2, -1, 0, 1]


def main() -> None:
    """Train on train.csv, and print macro-F1 and accuracy per aspect and their means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    args = parser.parse_args()

    train = pd.read_csv(HERE / "train.csv")
    evaluation = pd.read_csv(HERE / f"{args.split}.csv")
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=2)
    train_features = vectorizer.fit_transform(train["reviewbody"])
    features = vectorizer.transform(evaluation["reviewbody"])

    scores = []
    for aspect in train.columns[3:]:
        row: dict[str, str | float] = {"aspect": aspect}
        models = {
            "majority": DummyClassifier(strategy="most_frequent"),
            "tfidf": LogisticRegression(C=10, class_weight="balanced", max_iter=1000),
        }
        for name, model in models.items():
            model.fit(train_features, train[aspect])
            predicted = model.predict(features)
            expected = evaluation[aspect]
            row[f"{name}_f1"] = f1_score(
                expected, predicted, labels=LABELS, average="macro", zero_division=0
            )
            row[f"{name}_acc"] = accuracy_score(expected, predicted)
        scores.append(row)
    table = pd.DataFrame(scores).set_index("aspect")
    table.loc["mean"] = table.mean()
    print(table.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
