"""What the commands of ``herdwise experts`` share: options, recorded outcomes, a config's herd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from herdwise.cli import console

if TYPE_CHECKING:
    from herdwise.backends.base import Backend
    from herdwise.config.tree import Config
    from herdwise.core.candidate import Candidate, Herd
    from herdwise.core.decision import Goals
    from herdwise.core.outcomes import OutcomeTable
    from herdwise.experts.finetune import TrainingSettings

Outcomes = Annotated[
    list[str] | None,
    typer.Option("--outcomes", help="Outcome folder or shipped name; its train split. May be repeated."),
]
Ledger = Annotated[
    str | None, typer.Option("--ledger", help="A database URL or SQLite file: what was served and graded.")
]
ConfigFile = Annotated[Path, typer.Option("--config", help="The config of the herd that is served.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every random choice.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Width = Annotated[int, typer.Option("--width", min=8, help="Of a model from scratch.")]
Layers = Annotated[int, typer.Option("--layers", min=1, help="Of a model from scratch.")]
Heads = Annotated[int, typer.Option("--heads", min=1, help="Of a model from scratch.")]
Context = Annotated[int, typer.Option("--context", min=16, help="Tokens of question and answer together.")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Of training.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Examples per step.")]
Rate = Annotated[float, typer.Option("--lr", min=1e-9, help="Highest learning rate.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Of torch.")]
Kind = Annotated[str, typer.Option("--kind", help="scratch, or full or lora on a --base.")]
Base = Annotated[Path | None, typer.Option("--base", help="Model folder to start from.")]
LoraRank = Annotated[int, typer.Option("--lora-rank", min=1, help="Of LoRA.")]
Grader = Annotated[str, typer.Option("--grader", help="Registered grader of answers that are asked for.")]
GraderOption = Annotated[
    list[str] | None, typer.Option("--grader-option", help="key=value for the grader. May be repeated.")
]
PolicyName = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="Policy that is measured, over recorded answers where there are enough, else `single`;"
        " the config's if left out.",
    ),
]
SourceWeight = Annotated[
    list[str] | None, typer.Option("--source-weight", help="SOURCE=WEIGHT, 0 leaves it out. May be repeated.")
]

MaxRefused = Annotated[
    float | None,
    typer.Option(
        "--max-refused",
        min=0,
        max=1,
        help="Share of the teacher's asks that may fail and be set aside: 0.2 if left out; 10 always may.",
    ),
]

#: What a ledger's export counts under.
SERVED = "served"


@dataclass(frozen=True, eq=False)
class Wired:
    """A config's herd, ready to be asked.

    Args:
        config: as read.
        herd, goals: of it.
        encoder, predictor: of its router; the defaults where it has none.
    """

    config: Config
    herd: Herd
    goals: Goals
    encoder: str
    predictor: str

    def policy(self, name: str | None) -> dict[str, Any]:
        """What ``ProofSettings`` take of a policy: the config's, or another one with its defaults.

        Raises:
            UnknownNameError: when nobody registered it, or it takes no such options.
        """
        from herdwise.routing.base import POLICIES

        own = self.config.policy
        options = own.options if name in (None, own.name) else {}
        made = POLICIES.create(name or own.name, **options)
        return {"policy": made.name, "policy_options": options}

    def reach(self, name: str) -> Backend:
        """A backend of one of its candidates."""
        from herdwise.config.wiring import build_backend

        self.candidate(name)
        return build_backend(next(node for node in self.config.candidates if node.name == name))

    def candidate(self, name: str) -> Candidate:
        """One of its candidates.

        Raises:
            UnknownNameError: when there is none of that name.
        """
        return self.herd[name]

    def identity(self, name: str) -> str:
        """What stands behind a candidate's name."""
        from herdwise.config.identity import identity

        return identity(next(node for node in self.config.candidates if node.name == name))


def wire(path: Path) -> Wired:
    """A config's herd.

    Raises:
        ConfigError: when the config is wrong.
        ArtefactError: when its router cannot be read.
    """
    from herdwise.config.load import load
    from herdwise.config.wiring import build_goals, build_herd
    from herdwise.routing.router import Router

    config = load(path)
    encoder, predictor = "static", "stack"
    if config.router is not None:
        router = Router.load(config.router)
        encoder, predictor = router.encoder.name, router.predictor.name
    return Wired(config, build_herd(config), build_goals(config), encoder, predictor)


def read_tables(
    outcomes: Sequence[str], ledger: str | None, folder: Path, split: str = "", *, once: bool = False
) -> OutcomeTable:
    """Recorded outcomes that may be learned from: folders' train splits, and a ledger's queries.

    Args:
        outcomes: folders or shipped names.
        ledger: exported into ``folder``.
        folder: where to.
        split: of the folders; "" = train where there is one; "all" = every query.
        once: keep an earlier export of the ledger, which grows while it is in use, as it is: what was begun
            goes on with the queries that it began with.

    Raises:
        ConfigError: when neither is given, or the ledger holds nothing.
        OutcomeError: when a folder is malformed.
    """
    from herdwise.core.errors import ConfigError
    from herdwise.core.merge import merge
    from herdwise.serving.ledger_export import export_ledger, is_export
    from herdwise.storage.outcomes import read_outcomes

    names = list(outcomes)
    if ledger is not None:
        if not (once and is_export(folder / SERVED)):
            export_ledger(ledger, folder / SERVED)
        names.append(str(folder / SERVED))
    if not names:
        raise ConfigError("there are no outcomes to look at.", remedy="Give --outcomes DIR or --ledger URL.")
    tables = []
    for name in names:
        table = read_outcomes(name)
        for warning in table.warnings:
            console.warn(f"{name}: {warning}")
        wanted = split or ("train" if "train" in table.split_names() else "all")
        # An expert made from queries that are measured on later would flatter itself.
        tables.append(table if wanted == "all" else table.split(wanted))
    return merge(tables)


def training_settings(
    kind: str,
    width: int,
    layers: int,
    heads: int,
    context: int,
    steps: int,
    batch: int,
    lr: float,
    threads: int,
    lora_rank: int,
    seed: int,
) -> TrainingSettings:
    """Options as settings.

    Raises:
        ConfigError: when they do not fit.
    """
    from herdwise.core.errors import ConfigError
    from herdwise.experts.finetune import TrainingSettings

    if kind not in {"scratch", "full", "lora"}:
        raise ConfigError(f"there is no kind of training {kind!r}.", remedy="Known: scratch, full, lora.")
    return TrainingSettings(
        kind=kind,  # type: ignore[arg-type]
        width=width,
        layers=layers,
        heads=heads,
        max_context=context,
        steps=steps,
        batch=batch,
        lr=lr,
        threads=threads,
        lora_rank=lora_rank,
        seed=seed,
    )


def source_weights(given: Sequence[str]) -> dict[str, float]:
    """``SOURCE=WEIGHT`` options.

    Raises:
        ConfigError: when one is not of that form.
    """
    from herdwise.core.errors import ConfigError

    weights = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            name = ""
        if not name or weights[name] < 0:
            raise ConfigError(f"--source-weight {text!r} cannot be read.", remedy="Write SOURCE=WEIGHT.")
    return weights


def read_entry(path: Path) -> dict[str, Any]:
    """A candidate's keys, as a config has them, from a JSON or YAML file.

    Raises:
        ConfigError: when it is not a mapping with a name.
    """
    import yaml

    from herdwise.core.errors import ConfigError

    try:
        entry = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.", remedy="Name a JSON or YAML file."
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no YAML: {' '.join(str(error).split())}.", remedy="Write its keys as in a config."
        ) from None
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ConfigError(f"{path} is no candidate.", remedy="Write its keys as in a config, name first.")
    return entry


def embedded_backend(name: str) -> Callable[[Path], Backend]:
    """What reaches a model folder under a name."""

    def reach(folder: Path) -> Backend:
        from herdwise.config.tree import CandidateNode
        from herdwise.config.wiring import build_backend

        return build_backend(
            CandidateNode(name=name, backend="embedded", options={"folder": str(folder.resolve())})
        )

    return reach


def check_config(path: Path) -> None:
    """Whether a config can be served.

    Raises:
        HerdwiseError: when it cannot.
    """
    from herdwise.config.load import load
    from herdwise.config.wiring import PLAIN, build_backends, build_goals, build_ranker

    config = load(path)
    build_ranker(config).situation(PLAIN, build_goals(config))
    build_backends(config)
