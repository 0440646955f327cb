"""``herdwise evaluate``: held-out figures of a router, against best single and oracle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.evaluation.figures import Evaluation

# The options of `evaluate` and of `report`, which draws the same figures.
Outcomes = Annotated[str, typer.Option(help="Outcome folder, or a shipped name such as mmlu_pro.")]
RouterFolder = Annotated[
    Path | None, typer.Option("--router", help="A trained router; without it, one is trained here.")
]
PolicyName = Annotated[str, typer.Option(help="Registered policy to replay.")]
PolicyOptions = Annotated[
    list[str] | None,
    typer.Option("--policy-option", help="An option of the policy, as key=value; may be repeated."),
]
MaxParams = Annotated[float | None, typer.Option(help="Only candidates of at most this total size.")]
MaxActive = Annotated[float | None, typer.Option(help="Only candidates of at most this active size.")]
OpenOnly = Annotated[bool, typer.Option("--open-weights-only", help="Only open weights.")]
Candidates = Annotated[str | None, typer.Option(help="Only these, comma-separated.")]
Cost = Annotated[
    str | None,
    typer.Option(help="usd, active_params, latency or calls; without it, the first that is known."),
]
CostWeight = Annotated[float, typer.Option(min=0.0, help="Utility = quality - this * cost.")]
LeaveMargin = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Once cost counts, what a candidate predicted below the best single must be worth more."
        " Default: 0.02.",
    ),
]
MinQuality = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Below it for every expert, the generalist answers.")
]
MinQualityProbability = Annotated[
    float | None,
    typer.Option(help="How probable that must be of an expert; without it, its expectation counts."),
]
MaxCost = Annotated[float | None, typer.Option(help="Most USD for a query.")]
MaxLatency = Annotated[float | None, typer.Option(help="Most seconds for a query.")]
MaxOutput = Annotated[float | None, typer.Option(help="Most tokens of an answer.")]
LimitProbability = Annotated[
    float | None,
    typer.Option(help="How probable it must be that these three are kept, 0.01 to 0.99. Default: 0.8."),
]
Generalist = Annotated[str | None, typer.Option(help="Who answers when no expert is good enough.")]
AverageName = Annotated[
    str, typer.Option("--average", help="Headline figures: micro (over queries) or macro (over benchmarks).")
]
QualityColumn = Annotated[
    str | None,
    typer.Option(help="Column learned and measured: quality or correct. Default: the router's, or quality."),
]
TrainSplit = Annotated[str, typer.Option(help="Split to learn from; 'all' for every query.")]
TestSplit = Annotated[str, typer.Option(help="Split to measure on; 'all' for every query.")]
ReferenceName = Annotated[
    str | None, typer.Option("--reference", help="Candidate to stand beside (the Herd paper's figures).")
]
EncoderName = Annotated[
    str | None, typer.Option("--encoder", help="Registered encoder to train with. Default: static.")
]
EncoderOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder-option",
        help="key=value for the encoder, ${NAME} from the environment; with --router, what the encoder needs"
        " on this machine, such as api_key=${KEY}. May be repeated.",
    ),
]
PredictorName = Annotated[
    str | None, typer.Option("--predictor", help="Registered predictor to train. Default: stack.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of training and of the intervals.")]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def evaluate(
        outcomes: Outcomes,
        router: RouterFolder = None,
        policy: PolicyName = "single",
        policy_option: PolicyOptions = None,
        max_params_b: MaxParams = None,
        max_active_params_b: MaxActive = None,
        open_weights_only: OpenOnly = False,
        candidates: Candidates = None,
        max_cost_usd: MaxCost = None,
        max_latency_s: MaxLatency = None,
        max_output_tokens: MaxOutput = None,
        limit_probability: LimitProbability = None,
        cost: Cost = None,
        cost_weight: CostWeight = 0.0,
        leave_margin: LeaveMargin = None,
        min_quality: MinQuality = None,
        min_quality_probability: MinQualityProbability = None,
        generalist: Generalist = None,
        average: AverageName = "micro",
        quality_column: QualityColumn = None,
        train_split: TrainSplit = "train",
        test_split: TestSplit = "test",
        reference: ReferenceName = None,
        encoder: EncoderName = None,
        encoder_option: EncoderOptions = None,
        predictor: PredictorName = None,
        seed: Seed = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Measure a router on recorded outcomes: quality, gain over best single, oracle, cost, curves."""
        found = measure(
            outcomes,
            router,
            policy=policy,
            policy_option=policy_option,
            max_params_b=max_params_b,
            max_active_params_b=max_active_params_b,
            open_weights_only=open_weights_only,
            candidates=candidates,
            max_cost_usd=max_cost_usd,
            max_latency_s=max_latency_s,
            max_output_tokens=max_output_tokens,
            limit_probability=limit_probability,
            cost=cost,
            cost_weight=cost_weight,
            leave_margin=leave_margin,
            min_quality=min_quality,
            min_quality_probability=min_quality_probability,
            generalist=generalist,
            average=average,
            quality_column=quality_column,
            train_split=train_split,
            test_split=test_split,
            reference=reference,
            encoder=encoder,
            encoder_option=encoder_option,
            predictor=predictor,
            seed=seed,
        )
        if as_json:
            console.emit_json(found.as_json())
            return
        from herdwise.evaluation.tables import all_tables

        console.show(
            f"{found.name}: learned from {found.n_train:,} queries, measured on {found.n_test:,},"
            f" {found.n_candidates} candidates"
        )
        for table in all_tables(found, most_candidates=12):
            console.show()
            console.table(table.title, table.columns, table.rows, left=table.left)


def measure(
    outcomes: str,
    router: Path | None,
    *,
    policy: str,
    policy_option: list[str] | None,
    max_params_b: float | None,
    max_active_params_b: float | None,
    open_weights_only: bool,
    candidates: str | None,
    max_cost_usd: float | None,
    max_latency_s: float | None,
    max_output_tokens: float | None,
    limit_probability: float | None,
    cost_weight: float,
    leave_margin: float | None,
    min_quality: float | None,
    min_quality_probability: float | None,
    generalist: str | None,
    encoder: str | None,
    encoder_option: list[str] | None,
    predictor: str | None,
    **options: Any,
) -> Evaluation:
    """Read, train where no router is given, evaluate; warnings and progress go to stderr."""
    from herdwise.config.options import read_options
    from herdwise.core.decision import Constraints, Goals
    from herdwise.core.errors import ConfigError
    from herdwise.encoding.base import ENCODERS
    from herdwise.evaluation.evaluate import evaluate
    from herdwise.routing.base import POLICIES
    from herdwise.routing.router import Router
    from herdwise.storage.outcomes import read_outcomes, read_texts

    if router is not None and (encoder or predictor):
        raise ConfigError(
            "--encoder and --predictor train a router, but --router names a trained one.",
            remedy="Leave --router out, or the other two.",
        )
    for what, value in (
        ("--max-params-b", max_params_b),
        ("--max-active-params-b", max_active_params_b),
        ("--max-cost-usd", max_cost_usd),
        ("--max-latency-s", max_latency_s),
        ("--max-output-tokens", max_output_tokens),
        ("--cost-weight", cost_weight),
        ("--leave-margin", leave_margin),
    ):
        if value is not None and not 0 <= value < float("inf"):
            raise ConfigError(f"{what} {value} is no limit.", remedy="Give a finite number, at least 0.")
    probabilities = {
        "limit_probability": limit_probability,
        "min_quality_probability": min_quality_probability,
    }
    refuse_impossible(probabilities)
    if min_quality is not None and generalist is None:
        raise ConfigError(
            "--min-quality is set, but no generalist is named.",
            remedy="Name who answers when no expert is good enough: --generalist NAME.",
        )
    made = POLICIES.create(policy, **read_options(policy_option or ()))
    table = read_outcomes(outcomes)
    named = None if candidates is None else frozenset(n.strip() for n in candidates.split(",") if n.strip())
    goals = Goals(
        cost_weight=cost_weight,
        min_quality=min_quality,
        generalist=generalist,
        constraints=Constraints(
            max_params_b=max_params_b,
            max_active_params_b=max_active_params_b,
            max_cost_usd=max_cost_usd,
            max_latency_s=max_latency_s,
            max_output_tokens=max_output_tokens,
            open_weights_only=open_weights_only,
            candidates=named,
        ),
    ).replace(
        **{
            name: value
            for name, value in (probabilities | {"leave_margin": leave_margin}).items()
            if value is not None
        }
    )
    options_of_encoder = read_options(encoder_option or ())
    trained = None if router is None else Router.load(router)
    if trained is not None:
        trained.encoder.localise(**options_of_encoder)
    with console.stages() as progress:
        found = evaluate(
            table,
            router=trained,
            policy=made,
            goals=goals,
            encoder="static"
            if trained is not None
            else ENCODERS.create(encoder or "static", **options_of_encoder),
            predictor=predictor or "stack",
            completions=read_texts(outcomes),
            progress=progress,
            **options,
        )
    for warning in (*table.warnings, *found.warnings):
        console.warn(warning)
    return found


def refuse_impossible(probabilities: dict[str, float | None]) -> None:
    """Probabilities that nothing can be said to hold with, by the name of their flag.

    Raises:
        ConfigError: naming the flag.
    """
    from herdwise.core.decision import LEAST_PROBABILITY, MOST_PROBABILITY
    from herdwise.core.errors import ConfigError

    for name, value in probabilities.items():
        if value is not None and not LEAST_PROBABILITY <= value <= MOST_PROBABILITY:
            raise ConfigError(
                f"--{name.replace('_', '-')} {value} is out of range.",
                remedy=f"Give a probability from {LEAST_PROBABILITY} to {MOST_PROBABILITY}.",
            )
