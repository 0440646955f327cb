"""``make chaos``: a real endpoint at load over upstreams that fail by turns, with everything checked.

    python benchmarks/run_chaos.py                 # ten minutes
    python benchmarks/run_chaos.py --seconds 20    # the short form that the tests run

Prints a table; ends with 1 when anything does not hold. docs/operations.md says what is done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from chaos.run import Report, run


def show(report: Report) -> None:
    """The table."""
    for name, value in report.figures.items():
        print(f"  {name}: {value}")
    print()
    width = max(len(name) for name, _, _ in report.checks)
    for name, holds, found in report.checks:
        print(f"  {'ok  ' if holds else 'FAIL'}  {name:{width}}  {found}")
    print()
    failed = report.failed
    print(f"{len(failed)} of {len(report.checks)} checks do not hold." if failed else "All of it holds.")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description="Chaos at load.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-s", type=float, default=5.0, help="load before the kill -9; 0 = no kill")
    parser.add_argument("--workers", type=int, default=1, help="processes of the endpoint")
    parser.add_argument("--written-s", type=float, default=1.0, help="a decision's longest way to the disk")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for config, ledger and log, which is kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="herdwise-chaos-") as temporary:
        folder = Path(temporary) if options.keep is None else options.keep
        folder.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(
            run(
                folder,
                options.seconds,
                options.clients,
                options.seed,
                options.kill_s,
                options.workers,
                options.written_s,
            )
        )
    if options.json:
        told = [{"name": n, "holds": h, "found": f} for n, h, f in report.checks]
        print(json.dumps({"ok": not report.failed, "checks": told, "figures": report.figures}))
    else:
        show(report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
