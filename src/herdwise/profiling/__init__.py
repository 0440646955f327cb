"""Run the herd on benchmarks."""
