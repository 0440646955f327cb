"""``herdwise keys``: virtual keys with budgets and limits, made and revoked in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from herdwise.cli import console
from herdwise.cli.ledger_inputs import CONFIG, LedgerConfig, LedgerUrl, ledger_url

if TYPE_CHECKING:
    from herdwise.serving.keyring import Budget, Keyring, VirtualKey

_JSON = typer.Option(False, "--json", help="Print one JSON object.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(help="Virtual keys: budgets, limits, allowed candidates.", no_args_is_help=True)
    app.add_typer(group, name="keys")

    @group.command("create")
    def create(
        name: str = typer.Argument(..., help="Whose it is, or what for."),
        ledger: LedgerUrl = None,
        config: LedgerConfig = CONFIG,
        budget: list[str] = typer.Option(
            [], "--budget", help="USD per period, such as 10/month; hour, day, month or ever. Repeatable."
        ),
        requests_per_minute: int | None = typer.Option(
            None, min=1, help="Most requests in a calendar minute."
        ),
        tokens_per_minute: int | None = typer.Option(
            None, min=1, help="Most tokens, input and output, in a calendar minute."
        ),
        candidate: list[str] = typer.Option([], "--candidate", help="May answer; all where none is named."),
        policy: list[str] = typer.Option(
            [], "--policy", help="May decide; `direct` for naming a candidate; all where none is named."
        ),
        days: float | None = typer.Option(None, min=0.0, help="Days until it expires; never where left out."),
        as_json: bool = _JSON,
    ) -> None:
        """Make a key. Its secret is shown once, and kept nowhere."""
        import time

        from herdwise.serving.keyring import Terms

        terms = Terms(
            budgets=tuple(_budget(text) for text in budget),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            candidates=tuple(candidate) or None,
            policies=tuple(policy) or None,
        )
        expires_at = None if days is None else time.time() + days * 86400
        ring = _ring(ledger_url(ledger, config), create=True)
        key, secret = ring.create(name, terms, expires_at=expires_at)
        if as_json:
            console.emit_json({**_told(key), "key": secret})
            return
        console.show(f"{key.key_id} for {key.name}. Its key, shown this once:\n{secret}")
        console.note("With a virtual key in the ledger, every client needs a key.")

    @group.command("list")
    def show_all(ledger: LedgerUrl = None, config: LedgerConfig = CONFIG, as_json: bool = _JSON) -> None:
        """All keys, the oldest first."""
        keys = _ring(ledger_url(ledger, config)).all()
        if as_json:
            console.emit_json({"keys": [_told(key) for key in keys]})
            return
        rows = [[key.key_id, key.name, f"{key.shown}...", _state(key), _limits(key)] for key in keys]
        console.table("Virtual keys", ["id", "name", "key", "state", "limits"], rows)

    @group.command("revoke")
    def revoke(
        key_id: str = typer.Argument(..., help="As `herdwise keys list` shows it."),
        ledger: LedgerUrl = None,
        config: LedgerConfig = CONFIG,
        as_json: bool = _JSON,
    ) -> None:
        """Close a key for good. Running gateways take no more than a second or two."""
        key = _ring(ledger_url(ledger, config)).revoke(key_id)
        if as_json:
            console.emit_json(_told(key))
            return
        console.show(f"{key.key_id} ({key.name}) is revoked.")


def _ring(ledger: str, *, create: bool = False) -> Keyring:
    """The keys of a ledger, which is made only for a new key: a name that was mistyped holds none."""
    from herdwise.serving.keyring import Keyring
    from herdwise.serving.ledger_engine import open_engine

    return Keyring(open_engine(ledger, create=create))


def _budget(text: str) -> Budget:
    import msgspec

    from herdwise.core.errors import ConfigError
    from herdwise.serving.keyring import Budget

    usd, _, period = text.partition("/")
    try:
        return msgspec.convert({"usd": float(usd), "period": period or "month"}, Budget)
    except ValueError as error:  # msgspec's errors are ValueErrors too
        raise ConfigError(
            f"--budget {text!r} cannot be read: {error}.", remedy="It looks like 10/month or 0.5/day."
        ) from None


def _told(key: VirtualKey) -> dict[str, Any]:
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(key)
    return told


def _state(key: VirtualKey) -> str:
    import time

    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.valid(time.time()) else "expired"


def _limits(key: VirtualKey) -> str:
    terms = key.terms
    parts = [f"{budget.usd:g} USD/{budget.period}" for budget in terms.budgets]
    if terms.requests_per_minute is not None:
        parts.append(f"{terms.requests_per_minute} requests/minute")
    if terms.tokens_per_minute is not None:
        parts.append(f"{terms.tokens_per_minute} tokens/minute")
    if terms.candidates is not None:
        parts.append("candidates " + ", ".join(terms.candidates))
    if terms.policies is not None:
        parts.append("policies " + ", ".join(terms.policies))
    return "; ".join(parts) or "none"
