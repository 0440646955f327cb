"""Runs every (candidate, item, sample) through a live candidate and grades what comes back. Resumable."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from herdwise.backends.base import Backend
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError, HerdwiseError
from herdwise.profiling.asking import Asker, Patience
from herdwise.profiling.benchmark import Item, checked
from herdwise.profiling.graders.base import GRADERS, AskingGrader, Grader
from herdwise.profiling.journal import (
    VERSION,
    Header,
    Journal,
    Record,
    fingerprint,
    grading_digest,
    read_journal,
)
from herdwise.profiling.options import create
from herdwise.profiling.plan import Judge, Plan
from herdwise.profiling.run import Progress, Run, Standing
from herdwise.profiling.summary import ProfileSummary, summarise, to_table
from herdwise.storage.outcomes import write_outcomes

JOURNAL = "journal.jsonl"
_CONCURRENCY = 4


class Profiler:
    """One profile: a herd, its items, and how they are asked.

    Args:
        herd: the candidates.
        backends: name -> backend, for every candidate of the herd and every judge.
        items: what is asked; those without a split get one by ``split_of``.
        samples: times each item is asked of each candidate.
        sampling: fields added to every request, such as temperature and max_tokens.
        concurrency: asks at a time per candidate; a mapping gives candidates numbers of their own.
        identities: name -> what stands behind it, such as the upstream's model name; part of the
            fingerprint, so that another model's answers are never taken for this one's.
        patience: retries.
        judges: candidates beyond the herd that graders may ask.
        budget_usd: USD that this profile may cost, earlier runs and judges included; None = no limit.

    Raises:
        ItemsError: when there are no items, or an id stands twice.
        ConfigError: when a candidate has no backend, a grader's judge is unknown, a number is out of range,
            or a budget cannot be kept for want of prices or of a limit on the answers' length.
    """

    def __init__(
        self,
        herd: Herd,
        backends: Mapping[str, Backend],
        items: Sequence[Item],
        *,
        samples: int = 1,
        sampling: Mapping[str, Any] | None = None,
        concurrency: int | Mapping[str, int] = _CONCURRENCY,
        identities: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        judges: Sequence[Candidate] = (),
        budget_usd: float | None = None,
    ) -> None:
        self.herd, self.items, self.samples = herd, checked(items), samples
        self.sampling, self.budget_usd = dict(sampling or {}), budget_usd
        graders = {item.id: _grader(item) for item in self.items}
        seats = _judges(graders.values(), [*herd, *judges])
        known = dict.fromkeys([*herd.names, *seats])
        missing = [name for name in known if name not in backends]
        if missing:
            raise ConfigError(f"no backend for {', '.join(missing)}.", remedy="Add it to the config.")
        limits = concurrency if isinstance(concurrency, Mapping) else dict.fromkeys(known, concurrency)
        limits = {name: limits.get(name, _CONCURRENCY) for name in known}
        if samples < 1 or min(limits.values(), default=1) < 1:
            raise ConfigError("samples and concurrency must be at least 1.")
        if budget_usd is not None and not budget_usd >= 0:
            raise ConfigError("the budget must be at least 0 USD.")
        behind = {name: (identities or {}).get(name, name) for name in known}
        patience = patience or Patience()
        asked = {i: g.candidate for i, g in graders.items() if isinstance(g, AskingGrader)}
        self.plan = Plan(
            herd=herd,
            items=self.items,
            samples=samples,
            sampling=self.sampling,
            limits=limits,
            askers={name: Asker(backends[name], patience) for name in herd.names},
            judges={n: Judge(c, behind[n], Asker(backends[n], patience)) for n, c in seats.items()},
            graders=graders,
            digests={
                item.id: grading_digest(item, behind[asked[item.id] or ""] if item.id in asked else None)
                for item in self.items
            },
            by_id={item.id: item for item in self.items},
        )
        if budget_usd is not None:
            self.plan.refuse_unbounded()
        self._run: Run | None = None
        self._header = Header(
            version=VERSION,
            fingerprint=fingerprint(
                self.items, {name: behind[name] for name in herd.names}, samples, self.sampling
            ),
            n_items=len(self.items),
            candidates=herd.names,
            samples=samples,
            sampling=self.sampling,
            started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        )

    @property
    def n_pairs(self) -> int:
        """(candidate, item, sample) in all."""
        return self.plan.n_pairs

    def standing(self) -> Standing | None:
        """How far the run is that is under way, for a ``progress`` that wants to tell; None before it."""
        return None if self._run is None else self._run.standing()

    def recorded(self, out: str | os.PathLike[str]) -> Record:
        """What an earlier run left in ``out``; nothing is written.

        Raises:
            ConfigError: when it belongs to another profile.
        """
        _refuse_foreign(Path(out))
        record = read_journal(Path(out) / JOURNAL)
        if record.header is not None and record.header.fingerprint != self._header.fingerprint:
            raise ConfigError(
                f"{Path(out) / JOURNAL} belongs to another profile.", remedy="Choose another --out."
            )
        return record

    async def run(
        self, out: str | os.PathLike[str], *, progress: Progress | None = None, regrade: bool = False
    ) -> ProfileSummary:
        """Ask what has no answer yet, grade what has no grade, and write the outcome folder.

        A pair that fails for good gets no row: it was not run. A wrong, refused or unreadable answer gets
        its grader's quality, 0. A pair whose judge failed keeps its row, with a null quality.

        Args:
            out: the folder; its journal is resumed where there is one.
            progress: called with (done, total) pairs.
            regrade: ask no candidate, and grade all recorded answers anew; the items may be worded and
                graded otherwise, but must be the same by their ids.

        Raises:
            ConfigError: when ``out`` holds another profile, or outcomes of another origin, or another
                process uses it.
            HerdwiseError: when no candidate answered a single item.
        """
        folder = Path(out)
        _refuse_foreign(folder)
        if regrade and not (folder / JOURNAL).exists():
            raise ConfigError(f"{folder} holds no profile to grade anew.")
        with Journal(folder / JOURNAL, self._header, foreign=regrade) as journal:
            if regrade:
                self._refuse_unknown(journal.record, folder / JOURNAL)
            n_resumed = len(journal.record.answers)
            run = self._run = Run(
                self.plan, journal, budget_usd=self.budget_usd, progress=progress, grade_only=regrade
            )
            await run.work()
        record = journal.record
        if not record.answers:
            reason = run.failures[0].message if run.failures else "nothing was asked"
            if run.over_budget:
                reason = f"the first ask could cost more than {self.budget_usd} USD"
            raise HerdwiseError(
                f"no candidate answered a single item: {reason}", remedy="herdwise doctor checks the config."
            )
        table, texts = to_table(self.herd, self.items, record, record.header or self._header)
        write_outcomes(table, folder, texts=texts)
        return summarise(self.plan, table, record, run, out=folder, n_resumed=n_resumed)

    def _refuse_unknown(self, record: Record, path: Path) -> None:
        ids = {item.id for item in self.items}
        for item, candidate, sample in record.answers:
            if item not in ids or candidate not in self.herd or sample >= self.samples:
                raise ConfigError(
                    f"{path} holds sample {sample} of {candidate} on {item!r}, which is not asked for.",
                    remedy="Give all items, candidates and samples of that profile.",
                )


def _grader(item: Item) -> Grader:
    return create(GRADERS, item.grader, item.options)


def _judges(graders: Any, candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    known = {candidate.name: candidate for candidate in candidates}
    seats: dict[str, Candidate] = {}
    for grader in graders:
        if not isinstance(grader, AskingGrader):
            continue
        if grader.candidate not in known:
            raise ConfigError(
                f"the grader {grader.name} asks {grader.candidate!r}, which is no candidate.",
                remedy=f"Name one of {', '.join(known)} by --grader {grader.name}:candidate=NAME.",
            )
        seats[grader.candidate] = known[grader.candidate]
    return seats


def _refuse_foreign(folder: Path) -> None:
    """Outcomes that no profile made, such as a ledger's export, are not to be written over."""
    if (folder / "outcomes.parquet").exists() and not (folder / JOURNAL).exists():
        raise ConfigError(f"{folder} holds outcomes that no profile made.", remedy="Choose another --out.")
