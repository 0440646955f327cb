"""Chaos: a real endpoint over upstreams that take turns at failing, at load; everything is checked."""
