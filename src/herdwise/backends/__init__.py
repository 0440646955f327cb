"""Reach one candidate."""
