"""Evaluate a router on recorded outcomes: the protocol of docs/decisions/0005."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from herdwise.core.decision import COST_KINDS, CostKind, Estimates, Goals
from herdwise.core.errors import ConfigError, InputError, NoCandidateError, UnknownCostError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.encoding.base import Encoder
from herdwise.evaluation.averages import AVERAGES, Average
from herdwise.evaluation.costs import cost_matrix, first_known_kind, require_known
from herdwise.evaluation.curves import aiq, upper_hull
from herdwise.evaluation.decision_time import decision_times_us
from herdwise.evaluation.figures import (
    BestSingle,
    Curves,
    Evaluation,
    Quality,
    ReferenceFigures,
    RouterFigures,
    ZeroRouter,
)
from herdwise.evaluation.herd_paper import reference_figures
from herdwise.evaluation.measured import Measured
from herdwise.evaluation.metrics import expected_calibration_error, gap_recovered, mean_or_unknown
from herdwise.evaluation.references import cheapest, oracle, random_pick, zero_router
from herdwise.evaluation.replay import Openings, Records, replay
from herdwise.evaluation.routellm import pair_figures
from herdwise.evaluation.selection import split_limits
from herdwise.evaluation.setup import Setup, set_up
from herdwise.evaluation.sweep import sweep, vertices
from herdwise.prediction.base import Predictor
from herdwise.routing.base import POLICIES, Policy, Situation
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
    encoder: str | Encoder = "static",
    predictor: str | Predictor = "stack",
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
        encoder, predictor: of a router trained here.
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
            progress=progress,
        )
    )
    goals = goals.replace(cost_kind=kind, constraints=split_limits(goals.constraints)[1])

    # On record means that the candidate took the prompt: its context need not be asked about.
    queries = [replace(query, chars=0) for query in rows.table.queries()]
    estimates = trained.estimate(rows.table.queries())
    singly = [estimates.row(i) for i in range(len(queries))]
    records = Records(
        ran=np.isfinite(rows.quality),
        answers=None if rows.table.answers is None else rows.table.answer_matrix(),
        cost_usd=costs["usd"],
        latency_s=costs["latency"],
    )
    report("replay", 0, 1)
    course = replay(policy, _openings(trained, queries, singly)(goals), records)
    report("replay", 1, 1)
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
    p50, p99 = decision_times_us(trained, policy, queries, goals)
    curves, router_aiq, zero_aiq = _curves(
        measured, policy, _openings(trained, queries, singly), goals, records, costs[kind], warnings, report
    )
    fixed = measured.fixed(costs[kind])
    sizes = course.cost(costs["active_params"])
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
        cheapest=fixed[cheapest(costs[kind])] if _has_range(costs[kind]) else None,
        router=RouterFigures(
            *own,
            *gain,
            gap_recovered=gap_recovered(own[0], single[0], ceiling),
            effective_params_b=mean_or_unknown(sizes),
            calls_per_query=float(course.calls.mean()),
            cost_usd=mean_or_unknown(course.cost(costs["usd"])),
            aiq=router_aiq,
            ece=expected_calibration_error(estimates.quality, rows.quality),
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
        reference=None if reference is None else _beside(reference, setup, measured, sizes, at, warnings),
        warnings=warnings,
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


def _openings(
    router: Router, queries: list[Query], estimates: list[Estimates]
) -> Callable[[Goals], Openings]:
    def under(goals: Goals) -> Openings:
        def opening(row: int) -> Situation | None:
            try:
                return router.situation(queries[row], goals, estimates[row])
            except NoCandidateError:
                return None

        return opening

    return under


def _has_range(cost: np.ndarray) -> bool:
    """Whether the fixed candidates' mean costs are known and differ."""
    return bool(np.isfinite(cost).all() and np.ptp(cost.mean(axis=0)) > 0)


def _curves(
    measured: Measured,
    policy: Policy,
    openings: Callable[[Goals], Openings],
    goals: Goals,
    records: Records,
    cost: np.ndarray,
    warnings: list[str],
    report: Progress,
) -> tuple[Curves, float | None, float | None]:
    """Curves over the measured rows, AIQ of the router and of the zero router."""
    if not _has_range(cost):
        return Curves(), None, None
    quality = measured.quality
    mean_cost, mean_quality = measured.mean(cost), measured.mean(quality)
    ends = float(mean_cost.min()), float(mean_cost.max())
    blind = zero_router(mean_cost, mean_quality)
    try:
        points = sweep(
            policy, openings, goals, records, quality, cost, goals.cost_kind, measured.mean, ends, report
        )
    except UnknownCostError as error:
        warnings.append(f"the router's curve and AIQ are unknown: {error.message}")
        points = []
    if not points:
        return Curves(zero_router_hull=vertices(blind)), None, aiq(blind, *ends)
    own = upper_hull(np.array([p.cost for p in points]), np.array([p.quality for p in points]))
    return Curves(points, vertices(own), vertices(blind)), aiq(own, *ends), aiq(blind, *ends)


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
