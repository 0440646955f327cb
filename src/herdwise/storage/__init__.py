"""Outcome folders and router folders."""
