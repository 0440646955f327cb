"""``herdwise enlist``: which queries to score, a dry run, admitting, exchanging, removing."""

import numpy as np
import pytest

from herdwise import Candidate, Herd, OutcomeTable, Router, read_outcomes, write_outcomes
from herdwise.profiling.tasks.items import ItemsFile

SKILLS = {
    "maths": (0.9, 0.1),
    "poet": (0.1, 0.9),
    "middling": (0.5, 0.5),
    "weak": (0.15, 0.1),
    "late": (0.95, 0.1),
}
WORDS = [["integral", "matrix", "sum", "prime"], ["sonnet", "novel", "poem", "rhyme"]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A training folder with references, and a router that has not met ``late``."""
    rng = np.random.default_rng(0)
    n, m = 160, len(SKILLS)
    kind = rng.integers(0, 2, n)
    quality = rng.random((n, m)) < np.array(list(SKILLS.values()))[:, kind].T
    query, candidate = np.divmod(np.arange(n * m), m)
    table = OutcomeTable(
        herd=Herd(Candidate(name) for name in SKILLS),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[" ".join(rng.choice(WORDS[k], 4)) + f" {i}?\nA. yes\nB. no" for i, k in enumerate(kind)],
        benchmarks=[("maths", "poems")[k] for k in kind],
        splits=["test" if i % 4 == 0 else "train" for i in range(n)],
        references=["AB"[i % 2] if i % 3 else None for i in range(n)],
        query_index=query.astype(np.int32),
        candidate_index=candidate.astype(np.int32),
        sample=np.zeros(n * m, dtype=np.int32),
        values={"quality": quality.ravel().astype(np.float64), "output_tokens": np.full(n * m, 80.0)},
        name="made",
    )
    home = tmp_path_factory.mktemp("enlist")
    write_outcomes(table, home / "outcomes")
    known = [name for name in SKILLS if name != "late"]
    Router.fit(table.split("train").restrict(known), predictor="ridge").save(home / "router")
    return home


def test_it_says_which_queries_to_score_and_writes_them_as_items(herdwise, folders, tmp_path):
    router, items = folders / "router", tmp_path / "items.jsonl"
    found = herdwise(
        "enlist",
        "late",
        "--router",
        router,
        "--probe",
        12,
        "--outcomes",
        folders / "outcomes",
        "--out",
        items,
        "--json",
    ).json
    read = ItemsFile(items).items()
    assert [item.id for item in read] == [probe["id"] for probe in found["probes"]]
    assert len(read) == 12
    table = read_outcomes(folders / "outcomes")
    for item in read:
        row = table.query_ids.index(item.id)
        assert table.splits[row] == "train"
        assert (item.text, item.reference, item.grader) == (table.texts[row], table.references[row], "choice")


def test_the_router_alone_is_enough_to_name_the_queries(herdwise, folders):
    got = herdwise("enlist", "late", "--router", folders / "router", "--probe", 5)
    assert got.code == 0
    assert got.out.count("│ q") == 5
    assert "herdwise enlist late" in got.out


def test_a_dry_run_prints_level_interval_and_likeness_and_writes_nothing(herdwise, folders):
    before = (folders / "router" / "manifest.json").read_bytes()
    got = herdwise(
        "enlist", "late", "--router", folders / "router", "--outcomes", folders / "outcomes", "--dry-run"
    )
    assert got.code == 0, got.err
    assert "expected mean quality" in got.out
    assert "(95%:" in got.out
    assert "maths" in got.out
    assert "nothing was written" in got.out
    assert (folders / "router" / "manifest.json").read_bytes() == before


def test_admitting_writes_a_router_that_serves_the_newcomer_with_its_facts(herdwise, folders, tmp_path):
    out = tmp_path / "grown"
    got = herdwise(
        *("enlist", "late", "--router", folders / "router", "--outcomes", folders / "outcomes", "--out", out),
        *(
            "--params-b",
            9,
            "--active-params-b",
            3,
            "--open-weights",
            "--price-in",
            1,
            "--price-out",
            2,
            "--json",
        ),
    ).json
    assert got["enlisted"]["n_probes"] == 120
    assert got["enlisted"]["low"] < got["enlisted"]["quality"] < got["enlisted"]["high"]
    router = Router.load(out)
    late = router.herd["late"]
    assert (late.params_b, late.active_params_b, late.open_weights) == (9, 3, True)
    assert late.price.output_usd_per_mtok == 2
    listed = herdwise("candidates", "--router", out, "--json").json["candidates"]
    assert (
        next(c for c in listed if c["candidate"] == "late")["quality_from"] == "estimated from 120 outcomes"
    )
    assert len(Router.load(folders / "router").herd) == 4


def test_a_candidate_is_exchanged_and_one_removed(herdwise, folders, tmp_path):
    out = tmp_path / "exchanged"
    herdwise(
        *("enlist", "late", "--remove", "weak", "--router", folders / "router"),
        *("--outcomes", folders / "outcomes", "--out", out),
    )
    assert Router.load(out).herd.names == ["maths", "poet", "middling", "late"]
    got = herdwise("enlist", "--remove", "maths", "--router", out)
    assert "Removed maths" in got.out
    assert Router.load(out).herd.names == ["poet", "middling", "late"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nobody is named"),
        (["late"], "what 'late' answered is missing"),
        (["weak", "--outcomes", "OUTCOMES"], "already in the herd"),
        (["weak", "--probe", "5"], "already in the herd"),
        (["stranger", "--outcomes", "OUTCOMES"], "holds no outcome of 'stranger'"),
        (["late", "--outcomes", "OUTCOMES", "--price-in", "1"], "half a price"),
        (["late", "--probe", "5", "--out", "items.jsonl"], "references to grade by"),
        (["--remove", "stranger"], "'stranger' is not in the herd"),
    ],
)
def test_mistakes_exit_2_and_are_named(herdwise, folders, arguments, complaint):
    arguments = [folders / "outcomes" if a == "OUTCOMES" else a for a in arguments]
    got = herdwise("enlist", *arguments, "--router", folders / "router")
    assert got.code == 2
    assert complaint in got.err
