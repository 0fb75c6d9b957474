"""Tokens: how they are made, known and compared, and what is said of wrong ones."""

from __future__ import annotations

import hmac
import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otel_diag.auth import Access, check_exposure, hash_of
from otel_diag.config import Role, Settings, Token, settings_of
from otel_diag.errors import BadInput, Forbidden, StartupError, Unauthenticated
from otel_diag.present.cli.commands import app as cli
from tests.access.tokens import INGEST, bearer, known, secret_of, settings_with

HOME = known("home", "acme", INGEST)


def authorization(name: str) -> str:
    return bearer(name)["Authorization"]


def test_a_known_token_works_on_its_tenant() -> None:
    access = Access(settings_with(known("other", "other"), HOME))
    assert access.tenant(authorization("home"), Role.INGEST) == "acme"
    assert access.tenant(f"bearer   {secret_of('home')} ", Role.INGEST) == "acme"


def test_without_tokens_everybody_is_the_tenant_of_the_settings() -> None:
    assert Access(Settings()).tenant(None, Role.READ) == "default"
    assert Access(Settings(tenant="acme")).tenant("Bearer whatever", Role.INGEST) == "acme"


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic aG9tZTpob21l",
        secret_of("home"),
        f"Token {secret_of('home')}",
        authorization("home")[:-1],
        authorization("home") + "x",
        f"Bearer {hash_of(secret_of('home'))}",
        "Bearer \udcff\u20ac",
    ],
)
def test_what_is_no_known_token_is_nobody(shown: str | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        Access(settings_with(HOME)).tenant(shown, Role.INGEST)
    assert refused.value.hint
    assert "secret" not in refused.value.message


def test_a_role_that_the_token_has_not_is_forbidden() -> None:
    with pytest.raises(Forbidden) as refused:
        Access(settings_with(HOME)).tenant(authorization("home"), Role.READ)
    assert "home" in refused.value.message
    assert secret_of("home") not in refused.value.message + refused.value.hint


def test_every_hash_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(left: str, right: str) -> bool:
        compared.append(left)
        return hmac.compare_digest(left, right)

    monkeypatch.setattr("otel_diag.auth.hmac", type("hmac", (), {"compare_digest": staticmethod(compare)}))
    tokens = [known("first"), known("second"), known("third")]
    Access(settings_with(*tokens)).tenant(authorization("first"), Role.READ)
    assert compared == [token.sha256 for token in tokens]


@pytest.mark.parametrize(
    "entry",
    [
        {"sha256": "otd_the-token-itself-by-mistake"},
        {"roles": []},
        {"roles": ["admin"]},
        {"tenant": "no spaces"},
        {"name": ""},
        {"role": "read"},
    ],
)
def test_a_wrong_entry_is_an_error_that_repeats_no_secret(entry: dict[str, object]) -> None:
    with pytest.raises(BadInput) as refused:
        settings_of(tokens=[{**HOME.model_dump(mode="json"), **entry}])
    assert "tokens.0" in refused.value.message
    assert "otd_" not in refused.value.message


def test_two_entries_with_one_name_or_one_hash_are_an_error() -> None:
    for twin in (HOME, HOME.model_copy(update={"name": "twin"}), known("x").model_copy(update={"name": "home"})):
        with pytest.raises(BadInput, match="same"):
            settings_of(tokens=[HOME.model_dump(), twin.model_dump()])


def test_a_new_token_is_shown_once_with_the_entry_that_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = CliRunner().invoke(cli, ["token", "new", "--name", 'the "runner"', "--tenant", "acme", "--role", "ingest"])
    assert made.exit_code == 0
    secret, _, snippet = made.stdout.partition("\n")
    assert len(secret) >= 4 + 128 / 6
    (tmp_path / "otel-diag.toml").write_text(snippet[snippet.index("[[tokens]]") :])
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert secret not in snippet + repr(settings)
    assert Access(settings).tenant(f"Bearer {secret}", Role.INGEST) == "acme"
    assert settings.tokens[0].name == 'the "runner"'


def test_new_tokens_differ_and_come_as_json_too() -> None:
    arguments = ["token", "new", "--name", "x", "--role", "ingest", "--role", "read", "--json"]
    one, two = (json.loads(CliRunner().invoke(cli, arguments).stdout) for _ in range(2))
    assert one["token"] != two["token"]
    assert one["sha256"] == hash_of(one["token"])
    assert one["roles"] == ["ingest", "read"]
    assert CliRunner().invoke(cli, ["token", "new", "--name", "x"]).exit_code == 2
    assert CliRunner().invoke(cli, ["token", "new", "--name", "x", "--role", "root"]).exit_code == 2


def test_tokens_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_DIAG_TOKENS", json.dumps([HOME.model_dump(mode="json")]))
    monkeypatch.setenv("OTEL_DIAG_TOKEN", secret_of("home"))
    monkeypatch.setenv("OTEL_DIAG_ALLOWED_HOSTS", "diag.example.com, diag")
    settings = Settings()
    assert settings.tokens == (HOME,)
    assert settings.allowed_hosts == ("diag.example.com", "diag")
    assert secret_of("home") not in repr(settings) + str(settings.model_dump())
    assert tomllib.loads("tokens = []")["tokens"] == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_open_door_to_the_network_needs_a_word(host: str) -> None:
    with pytest.raises(StartupError) as refused:
        check_exposure(Settings(host=host))
    assert host in refused.value.message
    assert "token new" in refused.value.hint
    assert "--allow-anonymous" in refused.value.hint
    check_exposure(Settings(host=host, allow_anonymous=True))
    check_exposure(settings_with(HOME, host=host))
    tls = {"tls_cert": "c.pem", "tls_key": "k.pem"}
    check_exposure(Settings(host=host, **tls, tls_client_ca="ca.pem"))
    with pytest.raises(StartupError):
        check_exposure(Settings(host=host, **tls))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_alone_needs_none(host: str) -> None:
    check_exposure(Settings(host=host))


def test_a_token_entry_has_no_other_fields() -> None:
    assert set(Token.model_fields) == {"name", "tenant", "roles", "sha256"}
