"""Cost-quality points of every policy that can be replayed, on folds of the training split.

    python benchmarks/bench_policies.py [--folders mmlu_pro,routerdc7,bfcl] [--small] [--folds 2]
    python benchmarks/bench_policies.py --test       routers of the training split, the held-out questions

Each policy from frugal to lavish (``Policy.spectrum``, or cost weights for ``single``): quality in percent,
calls and billions of active parameters per question, summed over those asked; AUROC of the confidence in the
returned answer. Where answers carry signals, ``cascade`` and ``vote`` are measured without them too.
mmlu_pro: the open-weight candidates, with --small those of 13B or less. Folders without ``answer`` go by the
predictors' confidence alone. At the end: how often consult returns another answer than the first it heard,
which is what a stream of the first answer would have had to take back.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from herdwise.core.decision import CostKind, Goals
from herdwise.core.errors import HerdwiseError
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.confidence import auroc, confidence_of
from herdwise.evaluation.costs import cost_matrix, first_known_kind
from herdwise.evaluation.curves import sweep_weights
from herdwise.evaluation.openings import openings_of
from herdwise.evaluation.recorded import records_of
from herdwise.evaluation.replay import Records, Replay, replay
from herdwise.routing.base import Policy
from herdwise.routing.cascade import Cascade
from herdwise.routing.consult import Consult
from herdwise.routing.route_then_check import RouteThenCheck
from herdwise.routing.router import Router
from herdwise.routing.single import Single
from herdwise.routing.vote import Vote
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
COLUMN = {"routerdc7": "correct"}
FOLDS = 6
KINDS: tuple[CostKind, ...] = ("usd", "active_params", "latency", "calls")


@dataclass(frozen=True)
class Setting:
    """One point of a policy's curve."""

    policy: Policy
    goals: Goals
    name: str
    signals: bool = True


class Ground:
    """A router and questions that it has not seen."""

    def __init__(self, router: Router, table: OutcomeTable, column: str) -> None:
        self.router = router
        self.table = table
        self.queries = [replace(query, chars=0) for query in table.queries()]
        self.estimates = router.estimate(table.queries())
        self.singly = [self.estimates.row(i) for i in range(len(self.queries))]
        costs = {kind: cost_matrix(table, kind) for kind in KINDS}
        self.kind = first_known_kind(costs)
        self.cost, self.active_b = costs[self.kind], costs["active_params"]
        self.quality = table.matrix(column).astype(np.float64)
        self.records = records_of(table, router, column, costs["usd"], costs["latency"])
        self.plain = Records(self.records.ran, self.records.answers, costs["usd"], costs["latency"])

    def replay(self, setting: Setting) -> Replay:
        """Carry out a setting on every question."""
        openings = openings_of(self.router, setting.policy, self.queries, self.singly)
        goals = setting.goals.replace(cost_kind=self.kind)
        return replay(setting.policy, openings(goals), self.records if setting.signals else self.plain)


def settings_of(ground: Ground) -> list[Setting]:
    """Every policy, from frugal to lavish."""
    plain = Goals()
    m = ground.table.n_candidates
    found: list[Setting] = []
    fixed = np.nanmean(ground.cost, axis=0)
    weights = [0.0]
    if np.isfinite(fixed).all() and np.ptp(fixed) > 0:
        weights = sweep_weights(float(fixed.min()), float(fixed.max()), n=7).tolist()
    found += [Setting(Single(), Goals(cost_weight=w), f"single, weight {w:.2g}") for w in weights]
    found += [Setting(Cascade(p), plain, f"cascade, threshold {p}") for p in (0.35, 0.5, 0.6, 0.7, 0.8, 0.9)]
    found += [Setting(Cascade(p, "cost"), plain, f"cascade by cost, threshold {p}") for p in (0.5, 0.7, 0.8)]
    found += [
        Setting(Cascade(p, "utility"), plain, f"cascade by utility, threshold {p}")
        for p in (0.5, 0.7, 0.8, 0.9)
    ]
    found += [Setting(Vote(k), plain, f"vote, k {k}") for k in (1, 2, 3, 5, 9) if k <= m]
    found += [
        Setting(RouteThenCheck(p, most), plain, f"route_then_check, threshold {p}, most {most}")
        for p, most in ((0.5, 2), (0.7, 3), (0.9, 5))
    ]
    if ground.router.fusion is not None:
        found += [
            Setting(Consult(gain, until), plain, f"consult, min_gain {gain}, until {until}")
            for gain, until in ((0.05, 0), (0.02, 0), (0.005, 0), (0, 0), (0, 0.5), (0, 0.65))
        ]
    if ground.records.evidence is not None and ground.records.evidence.any():
        names = ("cascade, ", "vote, k 2", "vote, k 3")
        bare = [setting for setting in found if setting.name.startswith(names)]
        found += [replace(s, name=f"{s.name}, no signals", signals=False) for s in bare]
    return found


def grounds(table: OutcomeTable, column: str, n_folds: int, *, test: bool) -> list[Ground]:
    """Folds of the training split with equal texts together, or the held-out questions."""
    table = table.restrict(
        [c.name for c, share in zip(table.herd, table.coverage(column), strict=True) if share]
    )
    train = table.split("train")
    if test:
        return [
            Ground(Router.fit(train, quality_column=column, keep_texts=False), table.split("test"), column)
        ]
    texts = sorted(set(train.texts))
    number = dict(zip(texts, np.random.default_rng(7).permutation(len(texts)) % FOLDS, strict=True))
    fold = np.array([number[text] for text in train.texts])
    return [
        Ground(
            Router.fit(train.take(np.flatnonzero(fold != k)), quality_column=column, keep_texts=False),
            train.take(np.flatnonzero(fold == k)),
            column,
        )
        for k in range(n_folds)
    ]


def measure(name: str, parts: Sequence[Ground]) -> None:
    """Print a folder's points."""
    n = sum(len(ground.queries) for ground in parts)
    m, first = parts[0].table.n_candidates, parts[0]
    answers = "with" if first.router.fusion is not None else "without"
    print(f"\n{name}: {m} candidates, {n} questions, {answers} fusion, cost in {first.kind}")
    best = int(np.nanmean(np.concatenate([g.quality for g in parts]), axis=0).argmax())
    print(f"  best single on these questions: {first.table.herd.names[best]}", flush=True)
    for number, setting in enumerate(settings_of(first)):
        quality, calls, active, sure = [], [], [], []
        for ground in parts:
            # Weights differ from fold to fold as the costs do; the settings' order does not.
            own = settings_of(ground)[number]
            course = ground.replay(own)
            earned = course.quality(ground.quality)
            known = np.isfinite(earned)
            quality.append(np.nan_to_num(earned))
            calls.append(course.calls)
            active.append(course.cost(ground.active_b))
            confidence = confidence_of(course.take(known.nonzero()[0]), ground.estimates.quality[known])
            sure.append((confidence, earned[known]))
        p, right = (np.concatenate(column) for column in zip(*sure, strict=True))
        area = auroc(p, right)
        size = float(np.concatenate(active).mean())
        print(
            f"  {setting.name:<52} {100 * np.concatenate(quality).mean():5.1f}"
            f"  {np.concatenate(calls).mean():5.2f} calls"
            f"  {f'{size:7.1f} B' if np.isfinite(size) else '      - B'}"
            f"  AUROC {'-' if area is None else f'{area:.3f}'}",
            flush=True,
        )


def taken_back(parts: Sequence[Ground]) -> None:
    """How often consult's answer is not the first that it heard, and what that is worth."""
    changed, first_right, last_right, more = [], [], [], []
    for ground in parts:
        if ground.router.fusion is None or ground.records.answers is None:
            return
        full = ground.replay(Setting(Consult(0.0, 0.5), Goals(), ""))
        first = ground.replay(Setting(Consult(1.0), Goals(), ""))
        rows = np.arange(len(ground.queries))
        a, b = (ground.records.answers[rows, c.answered] for c in (first, full))
        changed.append(a != b)
        more.append(full.calls > 1)
        first_right.append(first.quality(ground.quality))
        last_right.append(full.quality(ground.quality))
    other, asked = np.concatenate(changed), np.concatenate(more)
    before, after = np.nan_to_num(np.concatenate(first_right)), np.nan_to_num(np.concatenate(last_right))
    print(
        f"  consult (until 0.5) asks on after the first answer on {100 * asked.mean():.0f}% of the questions,"
        f" returns another than the first on {100 * other.mean():.0f}%;\n  there the first was right on"
        f" {100 * before[other].mean():.0f}%, the returned one on {100 * after[other].mean():.0f}%"
    )


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folders", default="mmlu_pro,routerdc7,bfcl")
    parser.add_argument("--small", action="store_true", help="mmlu_pro: candidates of 13B or less")
    parser.add_argument("--folds", type=int, default=2, choices=range(1, FOLDS + 1))
    parser.add_argument("--test", action="store_true", help="the held-out questions")
    options = parser.parse_args()
    for folder in options.folders.split(","):
        if folder != "mmlu_pro" and not (SHARED / folder).is_dir():
            print(f"{folder}: not at hand, left out")
            continue
        table = read_outcomes(folder if folder == "mmlu_pro" else SHARED / folder)
        if folder == "mmlu_pro":
            most_b = 13.0 if options.small else np.inf
            names = [c.name for c in table.herd if c.open_weights and (c.params_b or np.inf) <= most_b]
            table = table.restrict(names or table.herd.names)
        try:
            parts = grounds(table, COLUMN.get(folder, "quality"), options.folds, test=options.test)
        except HerdwiseError as error:
            raise SystemExit(f"{folder}: {error}") from error
        measure(folder, parts)
        taken_back(parts)


if __name__ == "__main__":
    main()
