"""Evaluate a router on recorded outcomes: the protocol of docs/decisions/0005."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from herdwise.core.decision import COST_KINDS, CostKind, Goals
from herdwise.core.errors import ConfigError, InputError, UnknownCostError
from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import Encoder
from herdwise.evaluation.averages import AVERAGES, Average
from herdwise.evaluation.confidence import accuracy_at_coverage, auroc, confidence_of
from herdwise.evaluation.costs import cost_matrix, first_known_kind, require_known
from herdwise.evaluation.decision_time import decision_times_us
from herdwise.evaluation.figures import (
    BestSingle,
    Evaluation,
    Quality,
    ReferenceFigures,
    RouterFigures,
    ZeroRouter,
)
from herdwise.evaluation.herd_paper import reference_figures
from herdwise.evaluation.kept_limits import kept_limits
from herdwise.evaluation.measured import Measured
from herdwise.evaluation.metrics import expected_calibration_error, gap_recovered, mean_or_unknown
from herdwise.evaluation.openings import openings_of
from herdwise.evaluation.policy_curves import names_of, policy_curves
from herdwise.evaluation.recorded import records_of
from herdwise.evaluation.references import cheapest, oracle, random_pick
from herdwise.evaluation.replay import replay
from herdwise.evaluation.routellm import pair_figures
from herdwise.evaluation.selection import split_limits
from herdwise.evaluation.setup import Setup, set_up
from herdwise.evaluation.sweep import has_range, router_curves
from herdwise.prediction.base import Predictor
from herdwise.routing.base import POLICIES, Policy
from herdwise.routing.router import Progress, Router


def evaluate(
    table: OutcomeTable,
    *,
    router: Router | None = None,
    policy: str | Policy = "single",
    goals: Goals | None = None,
    cost: CostKind | None = None,
    average: Average = "micro",
    quality_column: str | None = None,
    train_split: str = "train",
    test_split: str = "test",
    reference: str | None = None,
    policies: Sequence[str] = (),
    encoder: str | Encoder = "static",
    predictor: str | Predictor = "stack",
    completions: Mapping[tuple[str, str], str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Held-out figures of a router and a policy.

    Args:
        table: recorded outcomes with the splits below (with ``router``, the test split alone will do).
        router: a trained one; without it, one is trained on ``train_split``.
        policy: registered name, or an instance.
        goals: what routing is asked for. Limits on what a candidate is remove it up front; ``cost_kind``
            is replaced by ``cost``.
        cost: kind of cost to weigh and to draw curves over; None = the first one known.
        average: of the headline figures.
        quality_column: learned and measured; None = the router's own, or "quality".
        train_split, test_split: names of splits, "all" for every query.
        reference: candidate to compare with by the Herd paper's figures.
        policies: registered names whose trade-offs are measured besides.
        encoder, predictor: of a router trained here.
        completions: (query id, candidate) -> full text of answers, whose signals are learned from and heeded.
        seed: of training and of the intervals.
        progress: called with (stage, done, total).

    Raises:
        InputError: a split, candidate or column that isn't there; nobody or nothing left to measure.
        HerdMismatchError: a candidate that the router does not know.
        UnknownCostError: an explicit ``cost`` that some candidate lacks, or a weight on no known cost.
    """
    goals = goals or Goals()
    report = progress or (lambda _stage, _done, _total: None)
    if average not in AVERAGES:
        raise ConfigError(f"there is no average {average!r}.", remedy=f"Known: {', '.join(AVERAGES)}.")
    if reference is not None:
        table.herd.index(reference)
    policy = POLICIES.create(policy) if isinstance(policy, str) else policy
    others = [POLICIES.create(name) for name in names_of(policies)]
    setup = set_up(
        table,
        goals.constraints,
        router=router,
        quality_column=quality_column,
        average=average,
        train_split=train_split,
        test_split=test_split,
    )
    rows, warnings = setup.rows, list(setup.warnings)
    costs = {each: cost_matrix(rows.table, each) for each in COST_KINDS}
    kind = _cost_kind(cost, costs, rows.table.herd.names, goals)
    trained = (
        setup.source
        if isinstance(setup.source, Router)
        else Router.fit(
            setup.source,
            encoder=encoder,
            predictor=predictor,
            quality_column=setup.column,
            seed=seed,
            keep_texts=False,
            completions=completions,
            progress=progress,
        )
    )
    for each in (policy, *others):
        if each.needs_belief and trained.fusion is None:
            raise InputError(
                f"policy {each.name!r} needs to know what answers are worth, and the router learned none.",
                remedy="Train on outcomes that have answers, or measure another policy: cascade, vote.",
            )
    goals = goals.replace(cost_kind=kind, constraints=split_limits(goals.constraints)[1])

    # On record means that the candidate took the prompt: its context need not be asked about.
    queries = [replace(query, chars=0) for query in rows.table.queries()]
    estimates = trained.estimate(rows.table.queries())
    singly = [estimates.row(i) for i in range(len(queries))]
    records = records_of(rows.table, trained, setup.column, costs["usd"], costs["latency"], completions)
    report("replay", 0, 1)
    course = replay(policy, openings_of(trained, policy, queries, singly)(goals), records)
    report("replay", 1, 1)
    warnings += kept_limits(goals, course.answered, rows.table)
    at = np.flatnonzero(course.answered >= 0)
    if len(at) == 0:
        raise InputError(
            f"policy {policy.name!r} answered none of {len(queries)} queries.",
            remedy="Relax the limits on predicted cost, latency or length.",
        )
    n_unanswered = len(queries) - len(at)
    if n_unanswered:
        warnings.append(f"{n_unanswered} test queries went unanswered; they are in no figure but ece.")
        queries, singly = [queries[i] for i in at.tolist()], [singly[i] for i in at.tolist()]
        course, records = course.take(at), records.take(at)
        costs = {each: cost[at] for each, cost in costs.items()}
    measured = Measured(
        names=trained.herd.names,
        benchmarks=[rows.table.benchmarks[i] for i in at.tolist()],
        quality=rows.quality[at],
        picked=course.quality(rows.quality[at]),
        answered=course.answered,
        best=trained.herd.index(setup.best_single),
        average=average,
    )
    own, single, gain = measured.intervals(seed)
    ceiling = float(measured.mean(oracle(measured.quality)))
    sizes = course.cost(costs["active_params"])
    p50, p99 = decision_times_us(trained, policy, queries, goals)
    under = openings_of(trained, policy, queries, singly)
    curves, router_aiq, zero_aiq = router_curves(
        measured, policy, under, goals, records, costs[kind], warnings, report
    )
    besides = policy_curves(
        others,
        trained,
        queries,
        singly,
        goals,
        records,
        measured,
        costs["active_params"],
        costs[kind],
        report,
    )
    sure = confidence_of(course, estimates.quality[at])
    beside = None if reference is None else _beside(reference, setup, measured, sizes, at, warnings)
    fixed = measured.fixed(costs[kind])
    return Evaluation(
        name=table.name,
        policy=policy.name,
        quality_column=setup.column,
        n_train=setup.n_train,
        n_test=len(rows.quality),
        n_test_left_out=rows.n_left_out,
        n_test_unanswered=n_unanswered,
        n_test_texts_in_train=setup.n_shared_texts,
        n_candidates=len(trained.herd),
        best_single=BestSingle(setup.best_single, *single),
        oracle=Quality(ceiling),
        random=Quality(float(measured.mean(random_pick(measured.quality)))),
        cheapest=fixed[cheapest(costs[kind])] if has_range(costs[kind]) else None,
        router=RouterFigures(
            *own,
            *gain,
            gap_recovered=gap_recovered(own[0], single[0], ceiling),
            effective_params_b=mean_or_unknown(sizes),
            calls_per_query=float(course.calls.mean()),
            cost_usd=mean_or_unknown(course.cost(costs["usd"])),
            aiq=router_aiq,
            ece=expected_calibration_error(estimates.quality, rows.quality),
            auroc=auroc(sure, measured.picked),
            accuracy_at_half_coverage=accuracy_at_coverage(sure, measured.picked),
            confidence_ece=expected_calibration_error(sure, measured.picked),
            reference_misses_rescued=None if beside is None else beside.missed_router,
            decision_us_p50=p50,
            decision_us_p99=p99,
            picked=measured.shares(),
        ),
        zero_router=ZeroRouter(zero_aiq),
        benchmarks=measured.per_benchmark(),
        micro=measured.means("micro"),
        macro=measured.means("macro"),
        excluded=setup.excluded,
        average=average,
        cost_kind=kind,
        cost_weight=goals.cost_weight,
        candidates=fixed,
        curves=curves,
        pair=pair_figures(measured, estimates.quality[at]) if len(trained.herd) == 2 else None,
        reference=beside,
        warnings=warnings,
        policies=besides,
    )


def _cost_kind(
    asked: CostKind | None, costs: dict[CostKind, np.ndarray], names: list[str], goals: Goals
) -> CostKind:
    if asked is not None:
        if asked not in COST_KINDS:
            raise ConfigError(f"there is no cost {asked!r}.", remedy=f"Known: {', '.join(COST_KINDS)}.")
        require_known(asked, costs[asked], names)
        return asked
    kind = first_known_kind(costs)
    if kind == "calls" and goals.cost_weight > 0:
        raise UnknownCostError(
            f"cost_weight is {goals.cost_weight:g}, but no cost is known for every candidate.",
            remedy="Record cost_usd, or token counts and prices, or fill active_params_b in candidates.csv;"
            " or leave candidates of unknown cost out with --candidates.",
        )
    return kind


def _beside(
    name: str,
    setup: Setup,
    measured: Measured,
    sizes: np.ndarray,
    at: np.ndarray,
    warnings: list[str],
) -> ReferenceFigures | None:
    """The Herd paper's figures; the reference may itself be left out of the herd."""
    column = setup.test.matrix(setup.column)[:, setup.test.herd.index(name)]
    where = {id_: row for row, id_ in enumerate(setup.test.query_ids)}
    ids = setup.rows.table.query_ids
    others = [j for j, other in enumerate(measured.names) if other != name]
    figures = reference_figures(
        name,
        column[[where[ids[i]] for i in at.tolist()]],
        measured.quality[:, others],
        measured.picked,
        sizes,
        setup.test.herd[name].active_params_b,
    )
    if figures is None:
        warnings.append(f"reference {name} ran none of the measured queries.")
    elif figures.n < len(at):
        warnings.append(f"reference {name} ran {figures.n} of the {len(at)} measured queries.")
    return figures
