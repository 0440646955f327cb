"""One typed tree; the only place that reads the environment and wires the running system together."""
