from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from herdwise.storage.outcomes import read_outcomes, write_outcomes


def test_the_weakest_clusters_are_printed_with_words_and_examples(
    herdwise: Callable[..., Any], tmp_path: Path
) -> None:
    folder = write_outcomes(read_outcomes("mmlu_pro").take(np.arange(600)), tmp_path)
    run = herdwise("experts", "select", "--outcomes", folder, "--clusters", 4, "--top", 2, "--json")
    assert run.code == 0
    found = run.json
    assert (found["split"], found["n_clusters"], len(found["weaknesses"])) == ("train", 4, 2)
    first, second = found["weaknesses"]
    assert first["lost_quality"] >= second["lost_quality"]
    assert first["words"]
    assert len(first["examples"]) == 3


def test_an_unknown_folder_ends_with_exit_code_2(herdwise: Callable[..., Any]) -> None:
    assert herdwise("experts", "select", "--outcomes", "nowhere").code == 2
