"""`herdwise evaluate` with its defaults on every outcome folder at hand, as one table.

    python benchmarks/bench_folders.py [--seed N]

mmlu_pro ships with the package; the other folders are measured where ../shared/outcomes exists. Routers are
trained on the split `train` and measured on held-out queries; intervals are paired bootstrap, 95%.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from herdwise import Constraints, Goals, OutcomeTable, Router, evaluate, read_outcomes
from herdwise.evaluation.figures import Evaluation

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
OPEN = Constraints(open_weights_only=True)
SMALL = Constraints(open_weights_only=True, max_params_b=13)


def line(what: str, found: Evaluation) -> str:
    """One row of the table, in percent and points."""
    router = found.router

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    gain = f"{100 * router.gain:+.1f} ({100 * router.gain_low:+.1f} to {100 * router.gain_high:+.1f})"
    return " | ".join(
        [
            f"| {what}",
            f"{found.n_test:,} x {found.n_candidates}",
            f"{percent(found.best_single.quality)} {found.best_single.candidate.split('/')[-1]}",
            percent(router.quality),
            gain,
            percent(router.gap_recovered),
            percent(found.oracle.quality),
            "-" if router.ece is None else f"{router.ece:.3f}",
            f"{percent(router.aiq)} / {percent(found.zero_router.aiq)} |",
        ]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    print(
        "| outcomes | queries x candidates | best single | router | gain | gap % | oracle | ECE | AIQ, zero |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    mmlu_pro = read_outcomes("mmlu_pro")
    for what, limits in (
        ("all", Constraints()),
        ("open weights", OPEN),
        ("open weights, 13B or less", SMALL),
    ):
        show(f"mmlu_pro, {what}", mmlu_pro, seed, goals=Goals(constraints=limits))
    if not SHARED.is_dir():
        print(f"\n{SHARED.name}: not here, so routerdc7, routerbench_partial and bfcl are left out.")
        return
    routerdc7 = read_outcomes(SHARED / "routerdc7")
    router = Router.fit(routerdc7.split("train"), quality_column="correct", seed=seed)
    for average in ("macro", "micro"):
        show(f"routerdc7 test, correct, {average}", routerdc7, seed, router=router, average=average)
    show("routerdc7 ood_test, correct, micro", routerdc7, seed, router=router, test_split="ood_test")
    show("routerbench_partial", read_outcomes(SHARED / "routerbench_partial"), seed)
    show("bfcl", read_outcomes(SHARED / "bfcl"), seed)


def show(what: str, table: OutcomeTable, seed: int, **options: Any) -> None:
    """Evaluate and print one row."""
    started = time.perf_counter()
    found = evaluate(table, seed=seed, **options)
    print(line(f"{what} ({time.perf_counter() - started:.0f} s)", found), flush=True)


if __name__ == "__main__":
    main()
