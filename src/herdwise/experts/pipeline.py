"""From a weakness of the herd to an expert that may join it: the steps, chained and kept in a manifest.

select -> synthesise -> curate -> fine-tune -> quantise -> gate. What was done with the same inputs is not
done again; a step that finds nothing to gain ends the chain. ``enlist`` brings an admitted expert in.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from herdwise.backends.nano.folder import read_config
from herdwise.core.candidate import Candidate
from herdwise.core.errors import InputError
from herdwise.core.money import Price
from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import ENCODERS
from herdwise.experts.curate import Curated, curate
from herdwise.experts.examples import Example, digest_of, pretty, read_examples, write_examples
from herdwise.experts.finetune import TrainingProgress, finetune
from herdwise.experts.gate import Verdict
from herdwise.experts.manifest import Manifest, Work, refuse_others, sha256
from herdwise.experts.merge_folders import merge_folders
from herdwise.experts.order import Made, Order, Progress, Status, entry_of
from herdwise.experts.proving import prove, save_router_with
from herdwise.experts.quantise import quantise
from herdwise.experts.supervise import cross_believed
from herdwise.experts.trial import GATE_SHARE, held_back
from herdwise.experts.voting import vote
from herdwise.experts.weakness import Target, choose_target
from herdwise.storage.whole_files import write_whole
from herdwise.storage.write_outcomes import write_outcomes

#: What is replaced in the folder of an expert, or removed.
OVERWRITTEN = (
    *("examples.jsonl", "curated.jsonl", "judges", "model", "merged", "model-int8", "outcomes", "router"),
)
#: Share of the curated examples that training only reports on.
_DEV_SHARE = 0.05


def make(order: Order, *, progress: Progress | None = None) -> Made:
    """Make an expert for the herd's worst weakness, and try whether the herd is better with it.

    Raises:
        InputError: when the order cannot be carried out; the message says what is missing.
        BackendError: when a teacher or a candidate cannot answer.
        MissingExtraError: when torch is not installed.
    """
    return _Making(order, progress or (lambda _stage, _done, _total: None)).run()


class _Making:
    def __init__(self, order: Order, progress: Progress) -> None:
        self.order, self.progress = order, progress
        if order.name in order.herd:
            raise InputError(
                f"{order.name!r} is in the herd already.", remedy="Choose another name for the expert."
            )
        refuse_others(order.out, "manifest.json", OVERWRITTEN)
        order.out.mkdir(parents=True, exist_ok=True)
        self.manifest = Manifest(order.out, order.name)
        self.done: list[str] = []
        self.kept: list[str] = []
        self.target: Target | None = None

    def run(self) -> Made:
        order = self.order
        self.target = target = self._select()
        if target is None:
            return self._end("select", "no cluster of the herd's queries is weak: nothing to gain.")
        examples = self._synthesise(target)
        if not examples:
            return self._end("synthesise", "no examples were given: nothing to learn from.")
        chosen = self._curate(target, examples)
        if not chosen:
            return self._end("curate", "no example is fit to learn from: nothing to gain.")
        model = self._train(chosen)
        verdict = self._gate(target, model)
        if not verdict.admitted:
            (order.out / "candidate.json").unlink(missing_ok=True)  # of an earlier model that was admitted
            return self._made("refused", "gate", verdict.words, verdict)
        entry = entry_of(self._facts(model), model)
        write_whole(order.out / "candidate.json", pretty(entry))
        return self._made("admitted", "gate", verdict.words, verdict, entry, order.out / "router")

    def _made(
        self,
        status: Status,
        step: str,
        words: str,
        verdict: Verdict | None = None,
        entry: dict[str, Any] | None = None,
        router: Path | None = None,
    ) -> Made:
        return Made(status, step, words, self.target, verdict, entry, router, self.done, self.kept)

    def _end(self, step: str, words: str) -> Made:
        return self._made("nothing to gain", step, words)

    def _step(self, name: str, inputs: dict[str, Any], work: Callable[[], Work]) -> dict[str, Any]:
        step, anew = self.manifest.run(name, {**inputs, "seed": self.order.seed}, work)
        (self.done if anew else self.kept).append(name)
        return step.figures

    # -- the steps ----------------------------------------------------------------------------------

    def _select(self) -> Target | None:
        order = self.order
        table = order.table
        if order.weak_in:
            rows = [i for i, name in enumerate(table.benchmarks) if name in order.weak_in]
            table = table.take(np.array(rows, dtype=np.int64))
        path = order.out / "weakness.json"

        def work() -> Work:
            target = choose_target(
                table,
                ENCODERS.create("static").fit(table.texts),
                n_clusters=order.clusters,
                cluster=order.cluster,
                seed=order.seed,
            )
            write_whole(path, pretty(target))
            if target is None:
                return {"weak": False}, [path]
            w = target.weakness
            told = {"cluster": w.cluster, "n": w.n, "words": w.words, "reasons": w.reasons}
            figures = {"best_quality": w.best_quality, "lost_quality": w.lost_quality}
            return {"weak": True, **told, **figures, "n_measured": len(target.measured)}, [path]

        inputs: dict[str, Any] = {
            "outcomes": _digest_of_table(table),
            "clusters": order.clusters,
            "cluster": order.cluster,
        }
        # The way that queries are held back: seeds that were chosen by another may be measured on by this.
        inputs |= {"share": GATE_SHARE, "held_back": "plain"}
        self._step("select", inputs, work)
        return msgspec.json.decode(path.read_bytes(), type=Target | None)

    def _synthesise(self, target: Target) -> list[Example]:
        order = self.order
        path = order.out / "examples.jsonl"

        def work() -> Work:
            given = order.source(target, order.table, order.out / "teacher")
            write_examples(path, given)
            return {"n": len(given)}, [path]

        seeds = hashlib.sha256(msgspec.json.encode(target.seeds)).hexdigest()
        figures = self._step("synthesise", {"source": order.source_inputs, "seeds": seeds}, work)
        return read_examples(path) if figures["n"] else []

    def _curate(self, target: Target, examples: Sequence[Example]) -> list[Example]:
        order = self.order
        kept, dropped = order.out / "curated.jsonl", order.out / "dropped.jsonl"
        texts = dict(zip(order.table.query_ids, order.table.texts, strict=True))
        back = held_back(list(texts.values()))
        measured = [text for text, held in zip(texts.values(), back, strict=True) if held]

        inputs: dict[str, Any] = {"examples": digest_of(examples), "settings": asdict(order.curation)}
        inputs |= {"voters": [order.identify(name) for name in order.voters]}
        inputs |= {"judge": None if order.judge is None else asdict(order.judge)}
        inputs["held_out"] = _digest(sorted(measured))

        def work() -> Work:
            if order.judge is not None:
                _empty_unless(order.out / "judges", inputs, order.seed)
            unheard: list[str] = []
            found: Curated = curate(
                examples,
                votes=self._votes(examples, unheard.append),
                score=None if order.judge is None else self._doubts,
                held_out=measured,
                of_this_kind=[texts[id_] for id_ in target.seeds],
                of_other_kinds=[texts[id_] for id_ in target.others],
                encoder=ENCODERS.create("static"),
                settings=order.curation,
                seed=order.seed,
            )
            write_examples(kept, found.examples)
            write_whole(dropped, b"".join(msgspec.json.encode(d) + b"\n" for d in found.dropped))
            figures = {"n": len(found.examples), "dropped": found.counts, "auroc": found.auroc}
            return {**figures, "notes": [*found.notes, *unheard]}, [kept, dropped]

        figures = self._step("curate", inputs, work)
        return read_examples(kept) if figures["n"] else []

    def _votes(self, examples: Sequence[Example], note: Callable[[str], None]) -> dict[str, dict[str, str]]:
        order = self.order
        return {
            name: vote(
                order.herd[name],
                lambda name=name: order.reach(name),  # type: ignore[misc]
                [e.query for e in examples],
                order.out / "votes" / f"{i}.jsonl",
                identity=order.identify(name),
                progress=lambda done, total: self.progress("ask the voters", done, total),
                note=lambda text, name=name: note(f"{name}: {text}"),  # type: ignore[misc]
            )
            for i, name in enumerate(order.voters)
        }

    def _doubts(self, examples: Sequence[Example]) -> np.ndarray:
        judge = self.order.judge or self.order.training
        folder = self.order.out / "judges"
        return cross_believed(examples, folder, judge, seed=self.order.seed, progress=self.progress)

    def _train(self, examples: Sequence[Example]) -> Path:
        order = self.order
        trained, stored = order.out / "model", order.out / "model-int8"
        rows = [(e.query, e.target(with_reasoning=order.reasoning), e.weight) for e in examples]
        dev = held_back([e.query for e in examples], _DEV_SHARE)
        learned = [row for row, held in zip(rows, dev, strict=True) if not held]
        if not learned:
            raise InputError(f"{len(rows)} examples are too few to train on.")

        def told(at: TrainingProgress) -> None:
            self.progress("fine-tune", at.step, at.steps)

        inputs: dict[str, Any] = {"examples": digest_of(examples), "settings": asdict(order.training)}
        inputs |= {"base": None if order.base is None else _contents(order.base)}
        inputs |= {"reasoning": order.reasoning}

        def work() -> Work:
            _empty_unless(trained, inputs, order.seed)
            report = finetune(
                learned,
                trained,
                order.training,
                base=order.base,
                held_out=[row for row, held in zip(rows, dev, strict=True) if held],
                progress=told,
            )
            return msgspec.to_builtins(report) | {"folder": trained.name}, [trained]

        self._step("fine-tune", inputs, work)
        if order.merge_with:
            trained = self._merge(trained)
        if not order.quantised:
            return trained
        asked = [e.query for e, held in zip(examples, dev, strict=True) if held]

        def shrink() -> Work:
            report = quantise(trained, stored, prompts=asked)
            return msgspec.to_builtins(report) | {"folder": stored.name}, [stored]

        step = self.manifest.step("merge" if order.merge_with else "fine-tune")
        self._step("quantise", {"model": None if step is None else step.files}, shrink)
        return stored

    def _merge(self, trained: Path) -> Path:
        """The new expert and others of its base as one model."""
        order = self.order
        merged = order.out / "merged"
        if order.base is None:
            raise InputError("models are merged that started from one base.", remedy="Train on a --base.")
        base = order.base

        def work() -> Work:
            report = merge_folders(base, [trained, *order.merge_with], merged, order.merge_method)
            return msgspec.to_builtins(report) | {"folders": [merged.name]}, [merged]

        step = self.manifest.step("fine-tune")
        inputs: dict[str, Any] = {"model": None if step is None else step.files, "base": _contents(base)}
        inputs |= {"parts": [_contents(part) for part in order.merge_with], "method": order.merge_method}
        self._step("merge", inputs, work)
        return merged

    def _gate(self, target: Target, model: Path) -> Verdict:
        order = self.order
        verdict, router = order.out / "verdict.json", order.out / "router"
        # All that is known now, the expert's outcomes among them: what the next expert starts from.
        known = order.out / "outcomes"
        weights = _contents(model)
        expert = self._facts(model)

        def work() -> Work:
            found, table = prove(
                order.table,
                order.herd,
                expert,
                lambda: order.reach_expert(model),
                order.reach,
                order.out,
                settings=order.proof,
                seeds=[*target.seeds, *target.related],
                cluster=target.measured,
                identity=str(weights),
                identify=order.identify,
                seed=order.seed,
                progress=self.progress,
            )
            write_whole(verdict, pretty(found))
            write_outcomes(replace(table, splits=["train"] * table.n_queries), known)
            if not found.admitted:
                if router.exists():
                    shutil.rmtree(router)
                return {"words": found.words}, [verdict, known]
            save_router_with(
                table, order.herd, expert, router, found, settings=order.proof, progress=self.progress
            )
            return {"words": found.words}, [verdict, known, router]

        herd = [(order.identify(candidate.name), candidate) for candidate in order.herd]
        inputs = {"model": weights, "outcomes": _digest_of_table(order.table), "herd": _digest(herd)}
        self._step("gate", {**inputs, "settings": _digest(order.proof)}, work)
        return msgspec.json.decode(verdict.read_bytes(), type=Verdict)

    def _facts(self, model: Path) -> Candidate:
        """What is known of the expert: it runs here, for nothing."""
        step = self.manifest.step("fine-tune")
        n = None if step is None else step.figures.get("n_params")
        size = None if n is None else float(n) / 1e9
        return Candidate(
            self.order.name,
            params_b=size,
            active_params_b=size,
            context_tokens=read_config(model).max_context,
            open_weights=True,
            price=Price(0.0, 0.0),
            tags=frozenset({"expert"}),
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def _digest_of_table(table: OutcomeTable) -> str:
    """Of all that a step looks at: right answers and costs too, which the table's fingerprint leaves out."""
    columns = [table.fingerprint(name) for name in ("quality", "cost_usd") if table.has(name)]
    return _digest([columns, table.references, table.benchmarks])


def _contents(folder: Path) -> dict[str, str]:
    """Name -> sha256 of a model folder's files."""
    return {p.name: sha256(p) for p in sorted(folder.glob("*.*")) if p.is_file()}


def _empty_unless(folder: Path, inputs: dict[str, Any], seed: int) -> None:
    """Remove a training run that was begun from other inputs; one from these goes on."""
    begun = folder.with_name(f".{folder.name}.begun")
    digest = _digest([inputs, seed]).encode()
    if folder.exists() and not (begun.exists() and begun.read_bytes() == digest):
        shutil.rmtree(folder)
    write_whole(begun, digest)
