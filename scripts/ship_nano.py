"""Make the nano herd that ships: train it, copy the models into the package, record their answers.

    python scripts/ship_nano.py DIR        goes on where a run in DIR stood

Needs torch (extra train). The router's training split has about 3,000 prompts, its test split 2,000.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import herdwise
from herdwise.experts.families import EXPERT_FAMILIES, GENERALIST_FAMILIES
from herdwise.experts.nano_profile import ask_all, herd_items, questions
from herdwise.experts.recipe import MemberProgress, make_nano, nano_members
from herdwise.storage.write_outcomes import write_outcomes

NANO = Path(herdwise.__file__).parent / "data" / "nano"
N_TRAIN, N_TEST = 3000, 2000
_TELL_S = 15
_SHIPPED = ("config.json", "model.safetensors", "card.json")


def main() -> None:
    """Train, copy, profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    make_nano(given.out, seed=given.seed, workers=given.workers, progress=teller())
    names = [member.name for member in nano_members(given.seed)]
    for name in names:
        (NANO / name).mkdir(parents=True, exist_ok=True)
        for file in _SHIPPED:
            shutil.copyfile(given.out / name / file, NANO / name / file)
    asked = questions(herd_items(EXPERT_FAMILIES + GENERALIST_FAMILIES, N_TRAIN, N_TEST))
    table = ask_all({name: NANO / name for name in names}, asked, progress=lambda name: print(f"asks {name}"))
    write_outcomes(table, NANO / "outcomes")


def teller() -> Callable[[Sequence[MemberProgress]], None]:
    """Prints now and then where training stands."""
    told = [time.monotonic()]

    def tell(standing: Sequence[MemberProgress]) -> None:
        if time.monotonic() >= told[0]:
            told[0] = time.monotonic() + _TELL_S
            print(", ".join(f"{m.name} {m.step}/{m.steps}" for m in standing), flush=True)

    return tell


if __name__ == "__main__":
    main()
