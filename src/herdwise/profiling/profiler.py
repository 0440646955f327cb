"""Runs every (candidate, item, sample) through a live candidate and grades what comes back. Resumable."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from herdwise.answers.logprobs import token_logprobs
from herdwise.backends.base import Backend
from herdwise.core.candidate import Herd
from herdwise.core.completion import Completion, Usage
from herdwise.core.errors import BackendError, ConfigError, HerdwiseError
from herdwise.profiling.asking import Asker, Patience
from herdwise.profiling.benchmark import Item, checked
from herdwise.profiling.graders.base import GRADERS, Grader
from herdwise.profiling.journal import (
    VERSION,
    Answered,
    Failed,
    Graded,
    Header,
    Journal,
    Pair,
    Record,
    fingerprint,
    grading_digest,
    read_journal,
)
from herdwise.profiling.summary import ProfileSummary, summarise, to_table
from herdwise.storage.outcomes import write_outcomes

JOURNAL = "journal.jsonl"
#: Called with (done, total) pairs.
Progress = Callable[[int, int], None]


class Profiler:
    """One profile: a herd, its items, and how they are asked.

    Args:
        herd: the candidates.
        backends: name -> backend, for every candidate of the herd.
        items: what is asked; those without a split get one by ``split_of``.
        samples: times each item is asked of each candidate.
        sampling: fields added to every request, such as temperature and max_tokens.
        concurrency: asks at a time per candidate; a mapping gives candidates numbers of their own.
        identities: name -> what stands behind it, such as the upstream's model name; part of the
            fingerprint, so that another model's answers are never taken for this one's.
        patience: retries.

    Raises:
        ItemsError: when there are no items, or an id stands twice.
        ConfigError: when a candidate has no backend, or a number is out of range.
    """

    def __init__(
        self,
        herd: Herd,
        backends: Mapping[str, Backend],
        items: Sequence[Item],
        *,
        samples: int = 1,
        sampling: Mapping[str, Any] | None = None,
        concurrency: int | Mapping[str, int] = 4,
        identities: Mapping[str, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        missing = [name for name in herd.names if name not in backends]
        if missing:
            raise ConfigError(f"no backend for {', '.join(missing)}.", remedy="Add it to the config.")
        self.herd, self.items, self.samples = herd, checked(items), samples
        self.sampling = dict(sampling or {})
        limits = concurrency if isinstance(concurrency, Mapping) else dict.fromkeys(herd.names, concurrency)
        self._limits = {name: limits.get(name, 4) for name in herd.names}
        if samples < 1 or min(self._limits.values(), default=1) < 1:
            raise ConfigError("samples and concurrency must be at least 1.")
        self._askers = {name: Asker(backends[name], patience or Patience()) for name in herd.names}
        self._graders = {item.id: _grader(item) for item in self.items}
        self._digests = {item.id: grading_digest(item) for item in self.items}
        # Code under test shares the machine with its own clock: more at a time would only time out.
        self._grading = asyncio.Semaphore(os.cpu_count() or 1)
        behind = {name: (identities or {}).get(name, name) for name in herd.names}
        self._header = Header(
            version=VERSION,
            fingerprint=fingerprint(self.items, behind, samples, self.sampling),
            n_items=len(self.items),
            candidates=herd.names,
            samples=samples,
            sampling=self.sampling,
            started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        )

    @property
    def n_pairs(self) -> int:
        """(candidate, item, sample) in all."""
        return len(self.herd) * len(self.items) * self.samples

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

    async def run(self, out: str | os.PathLike[str], *, progress: Progress | None = None) -> ProfileSummary:
        """Ask what has no answer yet, grade what has no grade, and write the outcome folder.

        A pair that fails for good gets no row: it was not run. A wrong, refused or unreadable answer gets
        its grader's quality, 0.

        Args:
            out: the folder; its journal is resumed where there is one.
            progress: called with (done, total) pairs.

        Raises:
            ConfigError: when ``out`` holds another profile, or outcomes of another origin, or another
                process uses it.
            HerdwiseError: when no candidate answered a single item.
        """
        folder = Path(out)
        _refuse_foreign(folder)
        failures: list[Failed] = []
        with Journal(folder / JOURNAL, self._header) as journal:
            record = journal.record
            n_resumed = len(record.answers)
            done = 0

            def count() -> None:
                nonlocal done
                done += 1
                if progress is not None:
                    progress(done, self.n_pairs)

            async def work(name: str, pairs: deque[tuple[Item, int]]) -> None:
                while pairs:
                    item, sample = pairs.popleft()
                    await self._one(journal, name, item, sample, failures)
                    count()

            try:
                async with asyncio.TaskGroup() as group:
                    for name in self.herd.names:
                        pairs = deque((item, sample) for sample in range(self.samples) for item in self.items)
                        for _ in range(self._limits[name]):
                            group.create_task(work(name, pairs))
            except ExceptionGroup as errors:
                # One is the cause, the others are mostly its like; the group itself tells people nothing.
                raise errors.exceptions[0] from errors
        if not record.answers:
            reason = failures[0].message if failures else "nothing was asked"
            raise HerdwiseError(
                f"no candidate answered a single item: {reason}", remedy="herdwise doctor checks the config."
            )
        table, texts = to_table(self.herd, self.items, record, self._header)
        write_outcomes(table, folder, texts=texts)
        gave_up = {name: a.gave_up for name, a in self._askers.items() if a.gave_up is not None}
        return summarise(
            table, record, failures, gave_up, out=folder, n_resumed=n_resumed, samples=self.samples
        )

    async def _one(
        self, journal: Journal, name: str, item: Item, sample: int, failures: list[Failed]
    ) -> None:
        pair: Pair = (item.id, name, sample)
        answered = journal.record.answers.get(pair)
        if answered is None:
            try:
                answered = await self._ask(name, item, sample)
            except BackendError as error:
                failed = Failed(item.id, name, sample, error.kind, error.message)
                failures.append(failed)
                journal.add(failed)
                return
            if answered is None:
                return
            journal.add(answered)
            journal.record.answers[pair] = answered
        graded = journal.record.grades.get(pair)
        if graded is not None and graded.by == self._digests[item.id]:
            return
        completion = Completion(
            candidate=name,
            text=answered.text,
            finish_reason=answered.finish_reason,
            usage=Usage(answered.input_tokens, answered.output_tokens),
            latency_s=answered.latency_s,
        )
        async with self._grading:
            grade = await asyncio.to_thread(self._graders[item.id].grade, item, completion)
        graded = Graded(
            item.id, name, sample, self._digests[item.id], grade.quality, grade.answer, grade.note
        )
        journal.add(graded)
        journal.record.grades[pair] = graded

    async def _ask(self, name: str, item: Item, sample: int) -> Answered | None:
        asker = self._askers[name]
        if asker.gave_up is not None:
            return None
        completion = await asker.ask({"messages": list(item.messages), **self.sampling})
        used = completion.usage
        return Answered(
            item=item.id,
            candidate=name,
            sample=sample,
            text=completion.text,
            finish_reason=completion.finish_reason,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            latency_s=completion.latency_s,
            cost_usd=self.herd[name].price.cost_usd(used.input_tokens, used.output_tokens),
            tokens=token_logprobs([completion.body]) or None,
        )


def _grader(item: Item) -> Grader:
    return GRADERS.create(item.grader, **item.options)


def _refuse_foreign(folder: Path) -> None:
    """Outcomes that no profile made, such as a ledger's export, are not to be written over."""
    if (folder / "outcomes.parquet").exists() and not (folder / JOURNAL).exists():
        raise ConfigError(f"{folder} holds outcomes that no profile made.", remedy="Choose another --out.")
