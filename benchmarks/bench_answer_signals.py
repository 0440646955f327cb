"""What the signals of an answer are worth beside who gave it: the table of docs/experiments.

    python benchmarks/bench_answer_signals.py            folds of the training splits
    python benchmarks/bench_answer_signals.py --test     the 400 held-out questions with full texts, in folds

One answer: P(right) by the predicted quality alone, and with the evidence of its signals; area under the ROC
curve, Brier score, and the area within candidates (mean over them). Several answers (mmlu_pro, open
weights): the likeliest answer's P(right) by fusion alone and with evidence, heard in random order. Questions
that were learned from are never measured on; equal texts stay together.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench_consult import herd_of
from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.static import StaticEncoder
from herdwise.evaluation.confidence import auroc
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.signal_features import recorded_length, signal_matrix
from herdwise.prediction.signal_worth import SignalWorth
from herdwise.routing.base import Answer, Belief
from herdwise.routing.hearing import hear
from herdwise.routing.router import Router
from herdwise.routing.weighing import WeighedBelief
from herdwise.storage.outcomes import read_outcomes, read_texts

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
FOLDS = 5
#: How the evidence of several answers counts: not at all, as one answer's in all, or each in full.
WAYS = ("left out", "as one's", "added up")


def questions_of(table: OutcomeTable) -> np.ndarray:
    """``(n,)`` number of each question; equal texts have one."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in table.texts])


def answered(table: OutcomeTable) -> np.ndarray:
    """``(n, m)`` quality of the answers that were read, NaN elsewhere."""
    quality = table.matrix().astype(np.float64)
    if table.answers is None:
        return quality
    read = np.not_equal(table.answer_matrix(), np.array(None, dtype=object)).astype(bool)
    return np.where(read, quality, np.nan)


def row(what: str, p: np.ndarray, quality: np.ndarray) -> None:
    """AUROC, Brier score and AUROC within candidates of ``(n, m)`` probabilities, NaN where none."""
    known = np.isfinite(p) & np.isfinite(quality)
    within = [auroc(p[known[:, j], j], quality[known[:, j], j]) for j in range(p.shape[1])]
    areas = [area for area in within if area is not None]
    brier = float(((p[known] - quality[known]) ** 2).mean())
    area = auroc(p[known], quality[known]) or float("nan")
    print(f"  {what:<44} {area:.4f}  {brier:.4f}  {np.mean(areas):.4f}", flush=True)


def one_answer(
    name: str, table: OutcomeTable, predicted: np.ndarray, texts: dict[tuple[str, str], str]
) -> None:
    """Signals of single answers, learned on other questions than measured."""
    quality, questions = answered(table), questions_of(table)
    length = recorded_length(table, texts)
    signals = signal_matrix(table, texts, length)
    fold = (np.random.default_rng(3).permutation(int(questions.max()) + 1) % FOLDS)[questions]
    alone, with_signals = np.full(quality.shape, np.nan), np.full(quality.shape, np.nan)
    prior = np.full(quality.shape, np.nan)
    kept: dict[str, int] = {}
    odds = np.log(np.clip(predicted, 0.01, 0.99) / np.clip(1.0 - predicted, 0.01, 0.99))
    columns = np.arange(quality.shape[1])
    for k in range(FOLDS):
        learn, held = fold != k, fold == k
        worth = SignalWorth().fit(
            signals[learn], quality[learn], predicted[learn], questions[learn], length=length
        )
        for group in worth.kept_:
            kept[group] = kept.get(group, 0) + 1
        alone[held] = predicted[held]
        with_signals[held] = _sigmoid(odds[held] + worth.evidences(signals[held], columns))
        prior[held] = _sigmoid(odds[held] + SignalWorth().evidences(signals[held], columns))
    whole = SignalWorth().fit(signals, quality, predicted, questions, length=length)
    n = int(np.isfinite(quality).sum())
    print(f"\n{name}: {n} answers, {np.nanmean(quality):.3f} right; AUROC, Brier, AUROC within candidates")
    row("predicted quality alone", alone, quality)
    row("with signals, learned", with_signals, quality)
    row("with signals, by priors alone", prior, quality)
    told = {g: f"{1e3 * gain:+.2f} ({1e3 * error:.2f})" for g, (gain, error) in whole.gains_.items()}
    print(f"  fall of the log loss per answer, thousandths: {told}; kept in folds {kept} of {FOLDS}")


def several_answers(table: OutcomeTable, n_folds: int = 2) -> None:
    """Fusion with and without evidence, after some answers."""
    questions = questions_of(table)
    fold = (np.random.default_rng(7).permutation(int(questions.max()) + 1) % 6)[questions]
    sizes = (1, 2, 3, 5, 10, table.n_candidates)
    got: dict[tuple[int, str], list[tuple[float, float]]] = {(k, way): [] for k in sizes for way in WAYS}
    draw = np.random.default_rng(0)
    for number in range(n_folds):
        router = Router.fit(table.take(np.flatnonzero(fold != number)), keep_texts=False)
        held = table.take(np.flatnonzero(fold == number))
        estimates, quality = router.estimate(held.queries()), held.matrix()
        answers, evidence = held.answer_matrix(), router.evidences(held)
        for i, query in enumerate(held.queries()):
            order = [int(j) for j in draw.permutation(held.n_candidates) if np.isfinite(quality[i, j])]
            belief: Belief | None = router.belief(query, estimates.row(i))
            heard: list[Answer] = []
            for asked, j in enumerate(order, start=1):
                value, told_by = answers[i, j], float(evidence[i, j])
                missing = "" if value else "unreadable"
                told, belief = hear(belief, heard, asked, j, value=value, missing=missing, evidence=told_by)
                if isinstance(told, Answer):
                    heard.append(told)
                if (asked not in sizes and asked != len(order)) or belief is None or not heard:
                    continue
                size = table.n_candidates if asked == len(order) else asked
                for way in WAYS:
                    best, p = weighed_so(belief, way).best()
                    right = max(float(quality[i, a.candidate]) for a in heard if a.value == best)
                    got[size, way].append((p, right))
    print(
        f"\nmmlu_pro, {table.n_candidates} open-weight candidates, the likeliest answer after some were heard"
    )
    for (size, way), pairs in got.items():
        p, right = np.array(pairs).T
        print(
            f"  {size:>2} heard, evidence {way:<10} right {100 * right.mean():.1f},"
            f" AUROC {auroc(p, right) or 0:.4f}, Brier {((p - right) ** 2).mean():.4f}",
            flush=True,
        )


def weighed_so(belief: Belief, way: str) -> Belief:
    """The belief with its evidence counted in one of ``WAYS``."""
    if not isinstance(belief, WeighedBelief) or way == "as one's":
        return belief
    if way == "left out":
        return belief.plain
    n = len(belief.heard)
    return replace(belief, heard=tuple((who, value, n * e) for who, value, e in belief.heard))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


def left_out(table: OutcomeTable) -> np.ndarray:
    """The default predictor's predictions of rows that its members had not seen."""
    X = StaticEncoder().encode(list(table.texts))
    predicted = PREDICTORS.create("stack").fit(X, table.matrix(), seed=1).left_out_
    if predicted is None:
        raise SystemExit("the stack keeps no left-out predictions")
    return np.asarray(predicted, dtype=np.float64)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--test", action="store_true", help="the held-out questions that have full texts")
    if parser.parse_args().test:
        texts, whole = read_texts("mmlu_pro"), read_outcomes("mmlu_pro")
        names = sorted({name for _, name in texts})
        table = whole.restrict(names)
        ids = {query_id for query_id, _ in texts}
        router = Router.fit(table.split("train"), keep_texts=False, fusion=False)
        rows = np.array([i for i, query_id in enumerate(table.query_ids) if query_id in ids])
        held = table.take(rows)
        one_answer("mmlu_pro, full texts", held, router.estimate(held.queries()).quality, texts)
        return
    train = read_outcomes("mmlu_pro").split("train")
    one_answer("mmlu_pro, lengths", train, left_out(train), {})
    if (SHARED / "bfcl").is_dir():
        calls = read_outcomes(SHARED / "bfcl").split("train")
        one_answer("bfcl, lengths in tokens", calls, left_out(calls), {})
    several_answers(herd_of(train, None))


if __name__ == "__main__":
    main()
