"""Frozen values that every floor speaks in. No I/O."""
