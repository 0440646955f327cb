"""Fixtures that several floors' tests share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest


def _faulty_upstream_module() -> Any:
    """Tests may not import each other, so tests/faulty_upstream.py is loaded by its path, once."""
    name = "herdwise_tests_faulty_upstream"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("faulty_upstream.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
async def faulty_upstream() -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """``await faulty_upstream(**options)`` starts a server of ours; any number, closed after the test."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Any:
            return await stack.enter_async_context(_faulty_upstream_module().FaultyUpstream(**options))

        yield start


@pytest.fixture
def closed_port() -> int:
    """A local port where nobody listens."""
    port: int = _faulty_upstream_module().closed_port()
    return port
