"""`herdwise keys` makes, lists and revokes virtual keys in a ledger."""

from herdwise.serving.keyring import Keyring
from herdwise.serving.ledger_engine import open_engine


def test_a_key_is_made_listed_and_revoked(herdwise, tmp_path):
    ledger = tmp_path / "ledger.db"
    terms = (
        "--budget",
        "10/month",
        "--budget",
        "0.5/day",
        "--requests-per-minute",
        60,
        "--candidate",
        "small",
    )
    made = herdwise("keys", "create", "team blue", "--ledger", ledger, *terms, "--json")
    assert made.code == 0
    ring = Keyring(open_engine(str(ledger), create=False))
    ring.refresh()
    key = ring.known(made.json["key"].encode())
    assert key.key_id == made.json["key_id"]
    assert [(b.usd, b.period) for b in key.terms.budgets] == [(10.0, "month"), (0.5, "day")]
    assert (key.terms.requests_per_minute, key.terms.candidates) == (60, ("small",))
    listed = herdwise("keys", "list", "--ledger", ledger)
    assert "team blue" in listed.out
    assert made.json["key"] not in listed.out
    gone = herdwise("keys", "revoke", key.key_id, "--ledger", ledger, "--json")
    assert gone.json["revoked_at"] is not None


def test_a_budget_that_cannot_be_read_is_refused_with_an_example(herdwise, tmp_path):
    for text in ("ten/month", "10/fortnight", "-1/day"):
        run = herdwise("keys", "create", "x", "--ledger", tmp_path / "l.db", f"--budget={text}")
        assert run.code == 2
        assert "10/month" in run.err


def test_an_unknown_key_cannot_be_revoked(herdwise, tmp_path):
    herdwise("keys", "create", "x", "--ledger", tmp_path / "l.db")
    run = herdwise("keys", "revoke", "key_none", "--ledger", tmp_path / "l.db")
    assert run.code == 2
    assert "there is no key 'key_none'" in run.err
    assert "herdwise keys list" in run.err


def test_a_ledger_that_is_not_there_holds_no_keys_and_is_not_made_by_looking(herdwise, tmp_path):
    for command in (("list",), ("revoke", "key_none")):
        run = herdwise("keys", *command, "--ledger", tmp_path / "mistyped.db")
        assert run.code == 2
        assert "there is no ledger" in run.err
        assert "mistyped.db" in run.err
    assert list(tmp_path.iterdir()) == []


def test_who_makes_a_key_is_told_that_every_client_needs_one_now(herdwise, tmp_path):
    run = herdwise("keys", "create", "x", "--ledger", tmp_path / "l.db")
    assert "every client needs a key" in run.out + run.err
