"""What fusing recorded answers is worth on mmlu_pro.

    python benchmarks/bench_fusion.py             folds of the training split, near-duplicates kept together
    python benchmarks/bench_fusion.py --test      learned on `train`, measured once on `test`
    python benchmarks/bench_fusion.py --curves    two of the folds: fewer questions, candidates, voters
    python benchmarks/bench_fusion.py --enlist    two of the folds: one enlisted from a few probes, a copy

Columns: percent right with its 95% interval (bootstrap over questions, paired for differences); AUROC of the
confidence; percent right of the most confident half; expected calibration error; processor seconds to fit and
predict. "Options" is what their wording alone tells: the likeliest option without anybody's answer. "Kept
apart" leaves out test questions whose text stands in train.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import ENCODERS
from herdwise.evaluation.confidence import accuracy_at_coverage, auroc
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.evaluation.metrics import expected_calibration_error
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.fusion import Fusion
from herdwise.prediction.fusion_voice import Voice
from herdwise.prediction.likeness import Likeness, Mix
from herdwise.prediction.softmax import softmax
from herdwise.prediction.votes import NOT_RUN, Votes
from herdwise.storage.outcomes import read_outcomes

N_FOLDS = 5
#: Cosine from which two questions count as the same in other words.
ALIKE = 0.95
MIN_COVERAGE = 0.95


@dataclass(frozen=True)
class Rows:
    """Questions of one herd.

    Args:
        quality, answers: ``(n, m)``.
        votes: of them, with the options of the texts.
        predicted: ``(n, m)`` by a predictor that had not seen the row.
        texts: the questions.
    """

    quality: np.ndarray
    answers: np.ndarray
    votes: Votes
    predicted: np.ndarray
    texts: list[str]

    @classmethod
    def of(cls, table: OutcomeTable, predicted: np.ndarray) -> Rows:
        """Of a table."""
        quality, answers = table.matrix(), table.answer_matrix()
        return cls(quality, answers, Votes.of(answers, quality, table.texts), predicted, list(table.texts))

    def take(self, rows: np.ndarray) -> Rows:
        """The questions at ``rows``."""
        texts = [self.texts[i] for i in rows.tolist()]
        return Rows(
            self.quality[rows], self.answers[rows], self.votes.take(rows), self.predicted[rows], texts
        )

    def of_candidates(self, columns: np.ndarray) -> Rows:
        """Some of the candidates."""
        quality, answers = self.quality[:, columns], self.answers[:, columns]
        votes = Votes.of(answers, quality, self.texts)
        return Rows(quality, answers, votes, self.predicted[:, columns], self.texts)


#: Learns from rows, then gives ``(n, K + 1)`` probabilities of what was said on others.
Way = Callable[[Rows, Rows], np.ndarray]


def _one_hot(votes: Votes) -> np.ndarray:
    said: np.ndarray = (votes.said[:, None, :] == np.arange(votes.width)[None, :, None]).astype(np.float64)
    return said


def _softmax_of(weights: np.ndarray, none: float, votes: Votes) -> np.ndarray:
    said = _one_hot(votes)
    score = np.concatenate(
        [np.where(said.any(axis=2), said @ weights, -np.inf), np.full((len(said), 1), none)], axis=1
    )
    return softmax(score, axis=1)


def best_single(train: Rows, test: Rows) -> np.ndarray:
    """The candidate that is right most often on the training rows, of those that ran nearly all."""
    covered = np.isfinite(train.quality).mean(axis=0) >= MIN_COVERAGE
    best = int(np.where(covered, np.nanmean(train.quality, axis=0), -1.0).argmax())
    said = _one_hot(test.votes)[:, :, best] * test.predicted[:, [best]]
    posterior: np.ndarray = np.concatenate([said, np.zeros((len(said), 1))], axis=1)
    return posterior


def majority(train: Rows, test: Rows) -> np.ndarray:
    """The value said most often, its share as confidence."""
    del train
    count = _one_hot(test.votes).sum(axis=2)
    return np.concatenate(
        [count / np.maximum(count.sum(axis=1, keepdims=True), 1), np.zeros((len(count), 1))], 1
    )


def log_odds(train: Rows, test: Rows) -> np.ndarray:
    """Votes weighed by each candidate's log-odds of being right, one of ten being chance."""
    accuracy = np.clip(np.nanmean(train.quality, axis=0), 0.02, 0.98)
    return _softmax_of(np.log(9.0 * accuracy / (1.0 - accuracy)), 0.0, test.votes)


def linear_stack(train: Rows, test: Rows) -> np.ndarray:
    """One learned weight per candidate: a conditional softmax over the values said, by Newton's method."""
    said = _one_hot(train.votes)
    n, width, m = said.shape
    slopes = np.zeros((n, width + 1, m + 1))
    slopes[:, :width, :m], slopes[:, width, m] = said, 1.0
    present = np.concatenate([said.any(axis=2), np.ones((n, 1), dtype=bool)], axis=1)
    weights = np.zeros(m + 1)
    for _ in range(12):
        p = softmax(np.where(present, slopes @ weights, -np.inf), axis=1)
        gradient = np.tensordot(train.votes.right - p, slopes, 2) - 0.1 * weights
        mean = np.einsum("nk,nkf->nf", p, slopes)
        flat = (slopes * p[..., None]).reshape(-1, m + 1)
        curvature = flat.T @ slopes.reshape(-1, m + 1) - mean.T @ mean + 0.1 * np.eye(m + 1)
        weights += np.linalg.solve(curvature, gradient)
    return _softmax_of(weights[:m], float(weights[m]), test.votes)


def fused_without_options(train: Rows, test: Rows) -> np.ndarray:
    """Fusion that is not shown the texts."""
    fusion = Fusion().fit(train.quality, train.answers, train.predicted)
    return fusion.posteriors(test.votes, test.predicted)


def learned(train: Rows) -> Fusion:
    """Fusion of some rows."""
    return Fusion().fit(train.quality, train.answers, train.predicted, train.texts)


def boosted(train: Rows, test: Rows) -> np.ndarray:
    """Gradient boosting by value: who said it, how good they are predicted, the option's wording."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    def table(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        said = _one_hot(rows.votes).astype(np.float32)
        p = np.clip(np.nan_to_num(rows.predicted, nan=0.5), 0.02, 0.98)
        odds = np.log(p / (1.0 - p))
        share = said.sum(axis=2) / np.maximum(said.sum(axis=(1, 2)), 1)[:, None]
        lead = share - np.sort(share, axis=1)[:, -2:].mean(axis=1)[:, None]
        mass = np.einsum("nkm,nm->nk", said, p) / p.sum(axis=1)[:, None]
        level = np.broadcast_to(odds.mean(axis=1)[:, None], share.shape)
        columns = np.stack([share, lead, mass, level], axis=2)
        present = said.any(axis=2) | rows.votes.offered
        return np.concatenate([said, columns, rows.votes.features], axis=2), present

    learn, there = table(train)
    model = HistGradientBoostingClassifier(
        max_iter=200,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=5.0,
        random_state=0,
    )
    model.fit(learn[there], train.votes.right[:, :-1][there] > 0.5)
    X, present = table(test)
    chance: np.ndarray = np.zeros(present.shape)
    chance[present] = model.predict_proba(X[present])[:, 1]
    chance /= np.maximum(chance.sum(axis=1, keepdims=True), 1.0)
    posterior = np.zeros((len(chance), chance.shape[1] + 1))
    posterior[:, :-1] = np.where(_one_hot(test.votes).any(axis=2), chance, 0.0)
    posterior[:, -1] = 1.0 - posterior[:, :-1].sum(axis=1)
    return posterior


WAYS: dict[str, Way] = {
    "best single": best_single,
    "majority": majority,
    "log-odds votes": log_odds,
    "linear stack": linear_stack,
    "gradient boosting": boosted,
    "fusion, votes only": fused_without_options,
}


@dataclass(frozen=True)
class Measured:
    """``(n,)`` confidence in the likeliest value, and its recorded quality."""

    confidence: np.ndarray
    quality: np.ndarray

    @classmethod
    def of(cls, posterior: np.ndarray, votes: Votes) -> Measured:
        """Of posteriors; where nobody said anything the answer is wrong."""
        best = posterior[:, :-1].argmax(axis=1)
        rows = np.arange(len(best))
        given = posterior[rows, best] > 0
        return cls(posterior[rows, best], np.where(given, votes.right[rows, best], 0.0))

    def line(self) -> str:
        """The columns of the table."""
        low, high = interval(resampled_means(self.quality[:, None], ["all"] * len(self.quality))[:, 0])
        area = auroc(self.confidence, self.quality)
        half = accuracy_at_coverage(self.confidence, self.quality)
        gap = expected_calibration_error(self.confidence, self.quality)
        return (
            f"{100 * self.quality.mean():5.1f} [{100 * low:.1f}, {100 * high:.1f}]"
            f"  {area or float('nan'):.3f}  {100 * (half or float('nan')):5.1f}  {gap or float('nan'):.3f}"
        )


def fuse(train: Rows, test: Rows) -> Measured:
    """Fusion learned on some rows, measured on others."""
    return Measured.of(learned(train).posteriors(test.votes, test.predicted), test.votes)


def folds_apart(X: np.ndarray) -> np.ndarray:
    """``(n,)`` fold of each question; those that are alike, through others too, share one."""
    unit = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    pairs = [
        (start + r, c)
        for start in range(0, len(X), 500)
        for r, c in [np.nonzero(unit[start : start + 500] @ unit.T > ALIKE)]
    ]
    one, other = np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
    label = np.arange(len(X))
    while True:
        spread = label.copy()
        np.minimum.at(spread, one, label[other])
        if np.array_equal(spread, label):
            break
        label = spread
    fold: np.ndarray = np.random.default_rng(0).permutation(len(X))[label] % N_FOLDS
    return fold


def herds(table: OutcomeTable) -> dict[str, OutcomeTable]:
    """The herds measured."""
    free = [c for c in table.herd if c.open_weights]
    small = [c.name for c in free if c.params_b is not None and c.params_b <= 13]
    return {
        "open weights": table.restrict([c.name for c in free]),
        "open weights, 13B or less": table.restrict(small),
    }


def split(table: OutcomeTable, X: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[Rows, Rows]:
    """Training rows with left-out predictions, test rows with the predictor's."""
    part, other = table.take(train), table.take(test)
    predictor = PREDICTORS.create("stack").fit(X[train], part.matrix(), seed=0)
    left_out = predictor.left_out_
    if left_out is None:
        raise SystemExit("the predictor cannot leave rows out")
    return Rows.of(part, left_out), Rows.of(other, predictor.predict(X[test]))


def table_of(pairs: list[tuple[Rows, Rows]], apart: np.ndarray | None) -> None:
    """Print every way's figures over the pairs' test rows together."""
    measured: dict[str, Measured] = {}
    print(f"{'':22}right             AUROC   half    ECE   fit s")
    fusions: list[Fusion] = []

    def fused(train: Rows, test: Rows) -> np.ndarray:
        fusions.append(learned(train))
        return fusions[-1].posteriors(test.votes, test.predicted)

    for name, way in {**WAYS, "fusion": fused}.items():
        started, parts = time.process_time(), []
        for train, test in pairs:
            parts.append(Measured.of(way(train, test), test.votes))
        seconds = (time.process_time() - started) / len(pairs)
        measured[name] = whole = Measured(
            np.concatenate([p.confidence for p in parts]), np.concatenate([p.quality for p in parts])
        )
        print(f"{name:20}{whole.line()}  {seconds:5.1f}")
        if apart is not None and name.startswith("fusion"):
            print(f"{'  kept apart':20}{Measured(whole.confidence[apart], whole.quality[apart]).line()}")
    if pairs[0][1].votes.offered.any():
        wording = []
        for (_, test), fusion in zip(pairs, fusions, strict=True):
            for i, text in enumerate(test.texts):
                start = fusion.belief(test.predicted[i], text)
                p = start.probabilities()[:-1]
                wording.append(float(test.votes.right[i, p.argmax()]) if len(p) else 0.0)
        print(f"{'options':20}{100 * np.mean(wording):5.1f}")
    some = np.concatenate([test.votes.right[:, :-1].sum(axis=1) > 0 for _, test in pairs])
    print(f"{'oracle':20}{100 * some.mean():5.1f}")
    for name in ("best single", "linear stack", "gradient boosting", "fusion, votes only"):
        both = np.stack([measured["fusion"].quality, measured[name].quality], axis=1)
        draws = resampled_means(both, ["all"] * len(both))
        low, high = interval(draws[:, 0] - draws[:, 1])
        difference = 100 * (both[:, 0] - both[:, 1]).mean()
        print(f"fusion - {name}: {difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")


def curves(pairs: list[tuple[Rows, Rows]]) -> None:
    """Print fusion's figures with fewer training questions, fewer candidates, and fewer voters heard."""

    def over(way: Callable[[Rows, Rows, np.random.Generator], Measured]) -> str:
        parts = [way(train, test, np.random.default_rng(k)) for k, (train, test) in enumerate(pairs)]
        return Measured(
            np.concatenate([p.confidence for p in parts]), np.concatenate([p.quality for p in parts])
        ).line()

    for share in (0.125, 0.25, 0.5, 1.0):

        def fewer_questions(
            train: Rows, test: Rows, rng: np.random.Generator, share: float = share
        ) -> Measured:
            n = int(share * len(train.texts))
            return fuse(train.take(rng.permutation(len(train.texts))[:n]), test)

        print(f"{share:6.1%} of the questions   {over(fewer_questions)}")
    m = pairs[0][0].quality.shape[1]
    for size in (m // 4, m // 2, 3 * m // 4, m):

        def fewer_candidates(train: Rows, test: Rows, rng: np.random.Generator, size: int = size) -> Measured:
            columns = np.sort(rng.permutation(m)[:size])
            test = test.of_candidates(columns)
            return fuse(train.of_candidates(columns), test)

        print(f"{size:3} of {m} candidates       {over(fewer_candidates)}")
    fusions = [learned(train) for train, _ in pairs]
    for size in (1, 2, 3, 5, 8, 14):
        if size >= m:
            continue
        parts = []
        for (_, test), fusion in zip(pairs, fusions, strict=True):
            rng = np.random.default_rng(size)
            heard = rng.random(test.quality.shape).argsort(axis=1).argsort(axis=1) < size
            heard &= test.votes.said != NOT_RUN
            parts.append(Measured.of(fusion.posteriors(test.votes, test.predicted, heard), test.votes))
        whole = Measured(
            np.concatenate([p.confidence for p in parts]), np.concatenate([p.quality for p in parts])
        )
        print(f"{size:3} heard at random        {whole.line()}")


#: Candidates that are left out of training and enlisted, of three sizes.
NEW = ("Meta-Llama-3.1-70B-Instruct", "deepseek-chat-v2", "Phi-3-mini-4k-instruct", "Llama-2-13b-hf")


def enlisting(pairs: list[tuple[Rows, Rows]], names: list[str]) -> None:
    """Print what a candidate that fusion was not trained with adds once enlisted from some probes.

    "Copy": the herd has it already under another name, so that it should add nothing.
    """
    found: dict[str, list[Measured]] = {}

    def note(what: str, fusion: Fusion, rows: Rows, predicted: np.ndarray) -> None:
        found.setdefault(what, []).append(
            Measured.of(fusion.posteriors(rows.votes, predicted.astype(np.float32)), rows.votes)
        )

    def enlisted(fusion: Fusion, known: Rows, own: np.ndarray, rows: np.ndarray) -> tuple[Fusion, Mix]:
        outcomes = np.where(np.isfinite(known.quality), known.quality, known.predicted).astype(np.float64)
        likeness = Likeness.fit(outcomes, known.predicted)
        mix = likeness.mix(outcomes[rows], known.predicted[rows], own[rows])
        return fusion.with_voice(Voice.of(mix, outcomes[rows], known.predicted[rows], own[rows])), mix

    for number, (train, test) in enumerate(pairs):
        whole, everybody = learned(train), np.arange(len(names))
        for name in (n for n in NEW if n in names):
            j = names.index(name)
            rest = np.delete(everybody, j)
            known, last = train.of_candidates(rest), test.of_candidates(np.append(rest, j))
            twice = test.of_candidates(np.append(everybody, j))
            own = train.quality[:, j].astype(np.float64)
            ran = np.flatnonzero(np.isfinite(own))
            fusion = learned(known)
            note("with it, trained", whole, test, test.predicted)
            note("without it", fusion, test.of_candidates(rest), test.predicted[:, rest])
            note(
                "copy, trained", learned(train.of_candidates(np.append(everybody, j))), twice, twice.predicted
            )
            for n in (25, 50, 100):
                rows = np.random.default_rng(n + number).choice(ran, n, replace=False)
                more, mix = enlisted(fusion, known, own, rows)
                note(
                    f"enlisted from {n}",
                    more,
                    last,
                    np.c_[last.predicted[:, :-1], mix(last.predicted[:, :-1])],
                )
                more, mix = enlisted(whole, train, own, rows)
                note(f"copy, enlisted from {n}", more, twice, np.c_[test.predicted, mix(test.predicted)])
    print(f"{'':26}right             AUROC   half    ECE")
    for what, parts in found.items():
        whole_of = Measured(
            np.concatenate([p.confidence for p in parts]), np.concatenate([p.quality for p in parts])
        )
        print(f"{what:24}{whole_of.line()}")


def step_times(train: Rows, test: Rows) -> None:
    """Print how long a step takes: to hear one answer and to weigh all further asks."""
    fusion = learned(train)
    taken: list[float] = []
    for i in range(min(200, len(test.texts))):
        belief = fusion.belief(test.predicted[i], test.texts[i])
        left = np.flatnonzero(test.votes.said[i] != NOT_RUN)
        for place, candidate in enumerate(left[:8].tolist()):
            started = time.thread_time()
            belief = belief.observe(candidate, test.answers[i, candidate])
            belief.gain(left[place + 1 :])
            belief.best()
            taken.append(1e6 * (time.thread_time() - started))
    size = sum(value.nbytes for value in fusion.state()[1].values())
    quantiles = " / ".join(f"{q:.0f}" for q in np.quantile(taken, [0.5, 0.95, 0.99]))
    print(f"a step, processor us p50 / p95 / p99: {quantiles}; state {size} bytes")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--test", action="store_true", help="measure on the held-out split")
    parser.add_argument("--enlist", action="store_true", help="a candidate enlisted from a few probes")
    parser.add_argument("--curves", action="store_true", help="learning curves on the folds")
    chosen = parser.parse_args()
    whole = read_outcomes("mmlu_pro")
    encoder = ENCODERS.create("static")
    split_of = np.array(whole.splits, dtype=object)
    train, test = np.flatnonzero(split_of == "train"), np.flatnonzero(split_of == "test")
    encoder.fit([whole.texts[i] for i in train.tolist()])
    X = encoder.encode(whole.texts)
    seen = {whole.texts[i] for i in train.tolist()}
    apart = np.array([whole.texts[i] not in seen for i in test.tolist()])
    with threadpool_limits(1):
        for name, table in herds(whole).items():
            print(f"\n{name}: {table.n_candidates} candidates")
            if chosen.test:
                pairs = [split(table, X, train, test)]
                table_of(pairs, apart)
                step_times(*pairs[0])
                continue
            fold = folds_apart(X[train])
            used = range(2 if chosen.curves or chosen.enlist else N_FOLDS)
            pairs = [split(table, X, train[fold != k], train[fold == k]) for k in used]
            if chosen.curves:
                curves(pairs)
            elif chosen.enlist:
                enlisting(pairs, table.herd.names)
            else:
                table_of(pairs, None)


if __name__ == "__main__":
    main()
