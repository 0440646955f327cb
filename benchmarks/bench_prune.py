"""How few candidates carry a herd: `herdwise prune` on every outcome folder at hand.

    python benchmarks/bench_prune.py
    python benchmarks/bench_prune.py --folders mmlu_pro --predictor kernel --max 12

Sets are chosen on the training split, out of fold, and measured once on the test split. "chosen" is the
smallest set that keeps 97% of the whole herd's routed quality on the training split, "enough on test" the
smallest one of the list that keeps it on the test split.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from threadpoolctl import threadpool_limits  # comes with scikit-learn

from herdwise.core.decision import Constraints
from herdwise.evaluation.prune import prune
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
SMALL = Constraints(open_weights_only=True, max_params_b=13)
#: Name -> folder, quality column, limits.
HERDS = {
    "mmlu_pro": ("mmlu_pro", "quality", Constraints()),
    "mmlu_pro, open weights of 13B or less": ("mmlu_pro", "quality", SMALL),
    "routerdc7": ("routerdc7", "correct", Constraints()),
    "routerbench_partial": ("routerbench_partial", "quality", Constraints()),
    "bfcl": ("bfcl", "quality", Constraints()),
}


def run(name: str, folder: str, column: str, limits: Constraints, predictor: str, largest: int) -> None:
    """Print one herd's sets."""
    started = time.perf_counter()
    path = SHARED / folder
    if folder != "mmlu_pro" and not path.is_dir():
        print(f"\n{name}: not at hand, left out")
        return
    table = read_outcomes(folder if folder == "mmlu_pro" else path)
    found = prune(table, max_candidates=largest, limits=limits, quality_column=column, predictor=predictor)
    assert found.whole_test is not None  # noqa: S101 - every folder here has a test split
    enough = next(
        (len(s.kept) for s in found.stages if s.test is not None and s.test.share >= found.min_share), None
    )
    print(
        f"\n{name}: {found.n_candidates} candidates, whole herd routes to"
        f" {100 * found.whole_test.routed:.2f}% on test; chosen {found.chosen}, enough on test {enough}"
        f" ({time.perf_counter() - started:.0f} s)"
    )
    print(f"{'size':>4} {'train %':>8} {'share %':>8} {'test %':>8} {'share %':>8} {'oracle %':>9}  added")
    for stage in found.stages:
        assert stage.test is not None  # noqa: S101 - as above
        changed = ", ".join([*stage.added, *(f"without {name}" for name in stage.dropped)])
        print(
            f"{len(stage.kept):4d} {100 * stage.train.routed:8.2f} {100 * stage.train.share:8.1f}"
            f" {100 * stage.test.routed:8.2f} {100 * stage.test.share:8.1f}"
            f" {100 * stage.test.oracle:9.1f}  {changed}"
        )


def main() -> None:
    """Run every folder at hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folders", help="comma-separated; all by default")
    parser.add_argument("--predictor", default="stack")
    parser.add_argument("--max", type=int, default=10, help="largest set")
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        for name, (folder, column, limits) in HERDS.items():
            if options.folders is None or folder in options.folders.split(","):
                run(name, folder, column, limits, options.predictor, options.max)


if __name__ == "__main__":
    main()
