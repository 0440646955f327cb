"""Replay and figures."""
