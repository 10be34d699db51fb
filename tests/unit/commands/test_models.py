import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from contracts.model_signing.errors import ModelSignatureError
from supervisor.adapters.installation.model_claim import Claim
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.commands.models import command
from tests.model_signatures import DAY, Authority, make_bundle, make_statement, pem_of, public_pem
from tests.unit.adapters.installation.test_model_store import write_model

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    model = write_model(tmp_path / "m.gguf").read_bytes()
    statement = make_statement({".": model})
    (tmp_path / "signer.pem").write_bytes(public_pem(KEY))
    (tmp_path / "key.sig").write_text(json.dumps(make_bundle(statement, KEY)))
    now = datetime.now(UTC)
    root = Authority.make(valid=(now - DAY, now + DAY))
    signer = root.certify(KEY, names=[x509.RFC822Name("alice@example.org")], valid=(now - DAY, now + DAY))
    (tmp_path / "ca.pem").write_bytes(pem_of(root.certificate))
    (tmp_path / "certificate.sig").write_text(json.dumps(make_bundle(statement, KEY, [signer])))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def models(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


@pytest.mark.usefixtures("folder")
def test_a_model_signed_by_a_key_is_added_and_listed_with_its_signer() -> None:
    result = models("add", "tiny", "m.gguf", "--signature", "key.sig", "--key", "signer.pem")
    assert result.exit_code == 0, result.output
    assert "signed by sha256:" in result.output
    assert "key " in models("list").output


@pytest.mark.usefixtures("folder")
def test_a_model_signed_by_a_certified_signer_is_listed_with_the_name() -> None:
    options = ("--signature", "certificate.sig", "--certificate-chain", "ca.pem")
    assert models("add", "tiny", "m.gguf", *options).exit_code == 0
    assert "alice@example.org" in models("list").output
    refused = models("add", "tiny", "m.gguf", *options, "--identity", "bob@example.org")
    assert isinstance(refused.exception, ModelSignatureError)


@pytest.mark.usefixtures("folder")
def test_a_model_without_a_signature_has_no_signer() -> None:
    assert models("add", "tiny", "m.gguf").exit_code == 0
    assert "│ -" in models("list").output


def test_a_variant_is_listed_with_what_it_was_made_from(folder: Path) -> None:
    store = ModelStore(folder / "home" / "models")
    source, variant = write_model(folder / "m.gguf"), write_model(folder / "v.gguf", seed=1)
    whole = store.add("whole", source, progress=lambda _: None)

    def add(name: str, parent: str) -> None:
        store.add(name, variant, Claim(parent=parent), progress=lambda _: None)

    add("small", whole.sha256)
    add("orphan", "sha256:" + "ab" * 32)
    rows = {line.split()[1]: line for line in models("list").output.splitlines() if line.startswith("│")}
    made_from = {name: row.split("│")[-2].strip() for name, row in rows.items()}
    assert made_from == {
        "whole": "-",
        "small": f"whole {whole.quantization}",
        "orphan": "sha256:abababababab",
    }


@pytest.mark.usefixtures("folder")
def test_without_a_variant_no_column_says_what_was_made_from_what() -> None:
    assert models("add", "tiny", "m.gguf").exit_code == 0
    assert "made from" not in models("list").output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--key", "signer.pem"], "add --signature"),
        (["--certificate-chain", "ca.pem"], "add --signature"),
        (["--identity", "alice"], "add --signature"),
        (["--signature", "key.sig"], "either --key or --certificate-chain"),
        (["--signature", "key.sig", "--key", "signer.pem", "--certificate-chain", "ca.pem"], "either --key or"),
        (["--signature", "key.sig", "--key", "signer.pem", "--identity", "alice"], "a key has none"),
        (["--signature", "/dev/null", "--key", "signer.pem"], "no regular file"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_options_that_do_not_fit_together_are_refused(options: list[str], message: str) -> None:
    result = models("add", "tiny", "m.gguf", *options)
    assert result.exit_code == 2
    assert message in result.output
    assert "tiny" not in models("list").output


def test_the_signature_is_verified_before_the_model_is_read(folder: Path) -> None:
    (folder / "m.gguf").unlink()
    (folder / "signer.pem").write_bytes(public_pem(ec.generate_private_key(ec.SECP256R1())))
    result = models("add", "tiny", "m.gguf", "--signature", "key.sig", "--key", "signer.pem")
    assert isinstance(result.exception, ModelSignatureError)
