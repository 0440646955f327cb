"""Asks a running herdwise items of task families, grades the answers, and sends the grades as feedback.

    python examples/ask_and_grade.py URL plurals=120 sums=40 --split dev

Prints one JSON object: per family how many were asked and how many were answered right, and the first wrong
ones. The right answer goes along as a demonstration, so that the ledger can be learned from.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import urllib.request
from typing import Any

from herdwise.experts.families import FAMILIES

#: Wrong answers that are told, per family.
_WRONG = 20


def post(url: str, body: dict[str, Any], key: str) -> dict[str, Any]:
    """POST JSON, get JSON."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - the caller's own address
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
        answer["decision_id"] = response.headers.get("x-herdwise-decision-id")
        return answer


def ask(url: str, query: str, key: str) -> tuple[str, str, str]:
    """Who answered a query, what, and by which decision."""
    body = {"model": "auto", "messages": [{"role": "user", "content": query}]}
    answer = post(f"{url}/v1/chat/completions", body, key)
    return answer["model"], answer["choices"][0]["message"]["content"], answer["decision_id"]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("families", nargs="+", help="family=number")
    parser.add_argument("--split", default="dev", choices=["train", "dev", "test"])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--key", default="client")
    parser.add_argument("--no-feedback", action="store_true")
    given = parser.parse_args()
    wanted = [text.split("=") for text in given.families]
    items = [i for name, n in wanted for i in FAMILIES[name].items(given.split, int(n), seed=given.seed)]
    random.Random(given.seed).shuffle(items)
    told = {name: {"asked": 0, "right": 0, "answered_by": {}, "wrong": []} for name, _ in wanted}
    for item in items:
        model, said, decision = ask(given.url, item.query, given.key)
        right = said.strip() == item.answer
        figures: dict[str, Any] = told[item.family]
        figures["asked"] += 1
        figures["right"] += right
        figures["answered_by"][model] = figures["answered_by"].get(model, 0) + 1
        if not right and len(figures["wrong"]) < _WRONG:
            figures["wrong"].append({"query": item.query, "said": said, "answer": item.answer, "by": model})
        if not given.no_feedback:
            feedback = {
                "decision_id": decision,
                "thumbs": "up" if right else "down",
                "demonstration": item.answer,
            }
            post(f"{given.url}/v1/feedback", feedback, given.key)
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
