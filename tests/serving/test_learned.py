"""A learned router behind the endpoint, fed by what an earlier endpoint served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from herdwise.routing.router import Router
from herdwise.storage.outcomes import read_outcomes

SUMS = [f"What is {i} plus {i + 3}? Compute the sum of both numbers." for i in range(8)]
POEMS = [f"Write a tender poem about the moon over lake number {i} in spring." for i in range(8)]


async def test_what_was_served_and_graded_routes_what_comes_next(endpoint: Any, tmp_path: Path) -> None:
    e = await endpoint()
    for text in (*SUMS, *POEMS):
        for model in ("large", "small"):
            reply = await e.chat(text, model=model)
            good = (model == "small") == (text in SUMS)
            said = {
                "decision_id": reply.headers["x-herdwise-decision-id"],
                "thumbs": "up" if good else "down",
            }
            assert (await e.send("POST", "/v1/feedback", said)).status == 200
    e.service.ledger.export(tmp_path / "served")
    table = read_outcomes(tmp_path / "served")
    assert table.n_outcomes == 32

    asked = {"x-herdwise-explain": "1"}
    learned = await endpoint(ranker=Router.fit(table, predictor="knn"))
    total = await learned.chat("What is 40 plus 43? Compute the sum of both numbers.", headers=asked)
    poem = await learned.chat("Write a tender poem about the moon over the sea.", headers=asked)
    assert (total.json["model"], poem.json["model"]) == ("small", "large")
    told = total.json["herdwise"]
    assert told["origin"] == "router"
    nearest = told["neighbours"][0]
    assert nearest["text"] in SUMS
    assert nearest["benchmark"] == "served"
    assert nearest["similarity"] == pytest.approx(1, abs=0.5)
    stored = (await learned.decision(total))["asks"][0]
    assert stored["predicted_quality"] > 0.5
