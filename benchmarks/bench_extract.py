"""How well answers are read: the shipped mmlu_pro texts against the answers recorded with them.

    python benchmarks/bench_extract.py [--json]

400 questions x 13 candidates. Rows whose record holds an answer: share whose letter is read alike. Rows
whose record holds none: how many are read all the same, by how the letter was found. Also how many texts
count as refusals, loops or cut off, and how right those were.

Free text: with the letters taken out of the texts, do two that are alike draw the same conclusion (have one
recorded letter), and is the text that the others are most like one of the commonest conclusion?
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import time
from collections import Counter
from typing import Any

import numpy as np

from herdwise.answers.choice import read_choice
from herdwise.answers.signals import read_signals
from herdwise.answers.similar import cosines, medoid, say_the_same
from herdwise.encoding.static import StaticEncoder
from herdwise.evaluation.confidence import auroc
from herdwise.storage.outcomes import read_outcomes, read_texts


def measure() -> dict[str, Any]:
    """All figures."""
    table, texts = read_outcomes("mmlu_pro"), read_texts("mmlu_pro")
    answers, quality = table.answer_matrix(), table.matrix("quality")
    row = {id_: i for i, id_ in enumerate(table.query_ids)}
    equal: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    without: Counter[str] = Counter()
    by_candidate: dict[str, list[bool]] = {}
    signals: dict[str, list[float]] = {"all": [], "refused": [], "repetition over 0.3": [], "unclosed": []}
    right_of_unrecorded: list[bool] = []
    references = table.references or []
    read_s = 0.0
    for (query_id, candidate), text in texts.items():
        at = row[query_id], table.herd.index(candidate)
        began = time.perf_counter()
        choice = read_choice(text)
        read_s += time.perf_counter() - began
        how = "nothing read" if choice is None else choice.how
        if answers[at] is None:
            without[how] += 1
            if choice is not None and choice.sure:
                right_of_unrecorded.append(choice.letter == references[at[0]])
        else:
            same = choice is not None and choice.letter == answers[at]
            (equal if same else differing)[how] += 1
            by_candidate.setdefault(candidate, []).append(same)
        found = read_signals(text)
        for name, holds in (
            ("all", True),
            ("refused", found.refusal is not None),
            ("repetition over 0.3", found.repetition > 0.3),
            ("unclosed", found.unclosed),
        ):
            if holds:
                signals[name].append(float(quality[at]))
    n = equal.total() + differing.total()
    return {
        "n_with_answer": n,
        "equal": equal.total() / n,
        "equal_without_guesses": (equal.total() - equal["last_letter"]) / n,
        "equal_by_how": dict(equal),
        "differing_by_how": dict(differing),
        "n_without_answer": without.total(),
        "read_where_the_record_has_none": dict(without),
        "n_sure_where_the_record_has_none": len(right_of_unrecorded),
        "right_of_those": sum(right_of_unrecorded) / len(right_of_unrecorded),
        "lowest_candidate": min((sum(v) / len(v), k) for k, v in by_candidate.items()),
        "us_per_text": 1e6 * read_s / len(texts),
        "signals": {k: {"n": len(v), "quality": sum(v) / len(v)} for k, v in signals.items() if v},
    }


def without_letters(text: str) -> str:
    """A text without what names its option."""
    text = re.sub(
        r"(?i)\b(?:so |therefore,? |thus,? )?the (?:correct |best )?answer is:?\s*\(?[A-J]\)?\.?", "", text
    )
    return re.sub(r"\(?\b[A-J]\)", "", text).strip()


def free_text() -> dict[str, Any]:
    """Likeness of texts beside their recorded letters."""
    table, texts, encoder = read_outcomes("mmlu_pro"), read_texts("mmlu_pro"), StaticEncoder()
    answers, row = table.answer_matrix(), {id_: i for i, id_ in enumerate(table.query_ids)}
    by_question: dict[str, list[tuple[str, str]]] = {}
    for (query_id, candidate), text in texts.items():
        letter, plain = answers[row[query_id], table.herd.index(candidate)], without_letters(text)
        if letter is not None and len(plain) > 40:
            by_question.setdefault(query_id, []).append((letter, plain))
    alike: list[float] = []
    same: list[float] = []
    joined: list[float] = []
    common: list[bool] = []
    chance: list[float] = []
    for told in by_question.values():
        cosine = cosines(encoder.encode([text for _, text in told]))
        for (i, (a, left)), (j, (b, right)) in itertools.combinations(enumerate(told), 2):
            alike.append(float(cosine[i, j]))
            same.append(float(a == b))
            if say_the_same(left, right, cosine[i, j]):
                joined.append(float(a == b))
        if len(told) > 2:
            letter, n = Counter(letter for letter, _ in told).most_common(1)[0]
            chance.append(n / len(told))
            common.append(told[medoid(cosine, np.ones(len(told)))][0] == letter)
    return {
        "n_pairs": len(same),
        "same_letter": sum(same) / len(same),
        "auroc_of_cosine": auroc(np.array(alike), np.array(same)),
        "said_to_be_the_same": len(joined) / len(same),
        "same_letter_of_those": sum(joined) / len(joined),
        "n_questions": len(common),
        "medoid_is_commonest": sum(common) / len(common),
        "any_is_commonest": sum(chance) / len(chance),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found, free = measure(), free_text()
    if as_json:
        print(json.dumps({**found, "free_text": free}, indent=2))
        return
    print(f"rows with a recorded answer    {found['n_with_answer']}")
    print(f"  read alike                   {found['equal']:.2%}  {found['equal_by_how']}")
    print(f"  without guesses              {found['equal_without_guesses']:.2%}")
    print(f"  read otherwise or not        {found['differing_by_how']}")
    lowest, candidate = found["lowest_candidate"]
    print(f"  lowest candidate             {lowest:.2%}  {candidate}")
    print(f"rows without a recorded answer {found['n_without_answer']}")
    print(f"  read all the same            {found['read_where_the_record_has_none']}")
    n_sure, right = found["n_sure_where_the_record_has_none"], found["right_of_those"]
    print(f"  of those surely              {n_sure}, and right by the reference {right:.1%}")
    print(f"microseconds per text          {found['us_per_text']:.0f}")
    for name, figures in found["signals"].items():
        print(f"texts: {name:<24}{figures['n']:>5}, right {figures['quality']:.1%}")
    print(f"pairs of texts, letters taken out {free['n_pairs']}, same letter {free['same_letter']:.1%}")
    print(f"  AUROC of their cosine for it    {free['auroc_of_cosine']:.3f}")
    print(
        f"  said to be the same             {free['said_to_be_the_same']:.1%},"
        f" same letter {free['same_letter_of_those']:.1%}"
    )
    print(
        f"the text that stands for all      of the commonest letter {free['medoid_is_commonest']:.1%},"
        f" any text {free['any_is_commonest']:.1%} ({free['n_questions']} questions)"
    )


if __name__ == "__main__":
    main()
