import json
import os
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

from contracts.execution.execution_plan import PlannedModel
from contracts.model_signing.errors import ModelSignatureError
from contracts.model_signing.verification import SignedModel, TrustedKey, open_signature
from supervisor.adapters.installation.gguf_header import GgufHeader, read_gguf_header
from supervisor.adapters.installation.model_claim import Claim
from supervisor.adapters.installation.model_store import ModelStore
from supervisor.domain.errors import EngineError, Refusal
from supervisor.domain.planning.installation import InstalledModel
from tests.model_signatures import make_bundle, make_statement, public_pem

F32_TENSOR = np.zeros((32, 32), dtype=np.float32)


def write_model(
    path: Path,
    *,
    file_type: LlamaFileType | None = LlamaFileType.ALL_F32,
    tensor_type: GGMLQuantizationType = GGMLQuantizationType.F32,
    architecture: str = "llama",
    seed: int = 0,
) -> Path:
    """A GGUF file of a few hundred bytes; no model anyone would run."""
    writer = GGUFWriter(path, architecture)
    if file_type is not None:
        writer.add_file_type(file_type)
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "a"])
    writer.add_uint32("test.seed", seed)
    if tensor_type is GGMLQuantizationType.F32:
        writer.add_tensor("blk.0.attn_q.weight", F32_TENSOR)
    else:
        # Q4_1 holds 32 weights in 20 bytes, Q8_0 in 34.
        width = {GGMLQuantizationType.Q4_1: 20, GGMLQuantizationType.Q8_0: 34}[tensor_type]
        writer.add_tensor("blk.0.attn_q.weight", np.zeros((32, width), dtype=np.uint8), raw_dtype=tensor_type)
    writer.add_tensor("output_norm.weight", np.zeros(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def add(store: ModelStore, source: Path, name: str = "tiny", quantization: str = "f32") -> InstalledModel:
    return store.add(name, source, Claim(quantization, "llama"), progress=lambda _: None)


def planned(model: InstalledModel) -> PlannedModel:
    return PlannedModel(
        name=model.name,
        quantization=model.quantization,
        architecture=model.architecture,
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        mixture=model.mixture,
        chat_template=model.chat_template,
        signature=model.signature,
    )


def blob(store: ModelStore, model: InstalledModel) -> Path:
    return Path(store.locate(planned(model)).directory) / "model.gguf"


def test_the_header_says_what_the_engine_needs(tmp_path: Path) -> None:
    header = read_gguf_header(write_model(tmp_path / "m.gguf"))
    assert (header.architecture, header.quantization, header.context_length) == ("llama", "f32", 128)
    # 2 layers, 2 heads for keys and values, 8 numbers each, key and value, 2 bytes a number
    assert header.cache.token_bytes == 2 * 2 * (8 + 8) * 2


def test_a_header_without_a_type_is_read_from_the_weights(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", file_type=None, tensor_type=GGMLQuantizationType.Q4_1)
    assert read_gguf_header(path).quantization == "q4_1"


def test_a_header_that_its_weights_contradict_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", file_type=LlamaFileType.MOSTLY_Q4_1, tensor_type=GGMLQuantizationType.Q8_0)
    with pytest.raises(EngineError, match=r"says q4_1.*q8_0"):
        read_gguf_header(path)


def test_the_quantizers_own_fallback_is_accepted(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", file_type=LlamaFileType.MOSTLY_Q6_K, tensor_type=GGMLQuantizationType.Q8_0)
    assert read_gguf_header(path).quantization == "q6_k"


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 100, b"not a model" * 10])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(EngineError, match="not a readable GGUF"):
        read_gguf_header(tmp_path / "m.gguf")


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        read_gguf_header(tmp_path / "none.gguf")


@pytest.mark.parametrize(("quantization", "architecture"), [("q4_1", "llama"), ("f32", "gemma")])
def test_a_wrong_claim_is_refused(store: ModelStore, tmp_path: Path, quantization: str, architecture: str) -> None:
    source = write_model(tmp_path / "m.gguf")
    with pytest.raises(EngineError, match="is refused"):
        store.add("tiny", source, Claim(quantization, architecture), progress=lambda _: None)
    assert store.list() == ()


def test_an_installed_model_is_found_by_its_content(store: ModelStore, tmp_path: Path) -> None:
    seen: list[int] = []
    source = write_model(tmp_path / "m.gguf")
    model = store.add("tiny", source, progress=seen.append)
    assert store.list() == (model,)
    assert sum(seen) == source.stat().st_size
    path = blob(store, model)
    assert path.parent.name == model.sha256.removeprefix("sha256:")
    assert path.read_bytes() == source.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o444


def test_the_source_may_change_afterwards(store: ModelStore, tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf")
    model = add(store, source)
    source.write_bytes(b"changed")
    store.verify("tiny", "f32", lambda _: None)
    assert blob(store, model).exists()


def alter_in_place(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    before = path.stat()
    path.write_bytes(data)
    # Even with size and modification time restored, the time of change cannot be set back.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 10)


def replace_by_link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere.gguf"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("change", [alter_in_place, truncate, replace_by_link])
def test_a_changed_file_is_never_mounted(store: ModelStore, tmp_path: Path, change: object) -> None:
    model = add(store, write_model(tmp_path / "m.gguf"))
    assert callable(change)
    change(blob(store, model))
    with pytest.raises(Refusal) as caught:
        store.locate(planned(model))
    assert caught.value.code == "model_altered"
    with pytest.raises(EngineError):
        store.verify("tiny", "f32", lambda _: None)


@pytest.mark.parametrize("change", [alter_in_place, truncate, replace_by_link, Path.unlink])
def test_a_file_that_changes_while_it_is_used_is_noticed(store: ModelStore, tmp_path: Path, change: object) -> None:
    model = add(store, write_model(tmp_path / "m.gguf"))
    located = store.locate(planned(model))
    assert store.is_unchanged(located)
    assert callable(change)
    change(blob(store, model))
    assert not store.is_unchanged(located)


def test_a_missing_file_is_said_to_be_missing(store: ModelStore, tmp_path: Path) -> None:
    model = add(store, write_model(tmp_path / "m.gguf"))
    blob(store, model).unlink()
    with pytest.raises(Refusal) as caught:
        store.locate(planned(model))
    assert caught.value.code == "model_missing"
    with pytest.raises(Refusal) as caught:
        store.verify("tiny", "f32", lambda _: None)
    assert caught.value.code == "model_missing"


def test_a_restored_backup_is_accepted_after_it_was_hashed(store: ModelStore, tmp_path: Path) -> None:
    model = add(store, write_model(tmp_path / "m.gguf"))
    path = blob(store, model)
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    with pytest.raises(Refusal):
        store.locate(planned(model))
    store.verify("tiny", "f32", lambda _: None)
    assert store.locate(planned(model))


def test_two_names_share_one_file(store: ModelStore, tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf")
    first, second = add(store, source, "one"), add(store, source, "two")
    assert store.locate(planned(first)) == store.locate(planned(second))
    store.remove("one", "f32")
    assert store.locate(planned(second))
    store.remove("two", "f32")
    with pytest.raises(Refusal):
        store.locate(planned(second))
    assert store.list() == ()


def test_adding_the_same_again_changes_nothing(store: ModelStore, tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf")
    assert add(store, source) == add(store, source)
    assert len(store.list()) == 1


def test_a_name_is_not_taken_over_by_another_file(store: ModelStore, tmp_path: Path) -> None:
    add(store, write_model(tmp_path / "a.gguf"))
    with pytest.raises(EngineError, match="already installed"):
        add(store, write_model(tmp_path / "b.gguf", seed=1))


@pytest.mark.parametrize(("name", "quantization"), [("Foo Bar", "f32"), ("", "f32"), ("good", "q4_1")])
def test_a_refused_claim_leaves_what_is_installed_as_it_was(
    store: ModelStore, tmp_path: Path, name: str, quantization: str
) -> None:
    source = write_model(tmp_path / "m.gguf")
    good = add(store, source, "good")
    with pytest.raises(EngineError) as caught:
        add(store, source, name, quantization)
    assert caught.value.code == "model_refused"
    assert store.locate(planned(good))
    other = write_model(tmp_path / "other.gguf", seed=1)
    with pytest.raises(EngineError):
        add(store, other, "good")
    assert len([path for path in (tmp_path / "models").iterdir() if path.is_dir()]) == 1


def test_what_is_installed_is_what_was_looked_at(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_model(tmp_path / "m.gguf")
    looked_at: list[Path] = []

    def look(path: Path) -> GgufHeader:
        looked_at.append(path)
        return read_gguf_header(path)

    monkeypatch.setattr("supervisor.adapters.installation.model_claim.read_gguf_header", look)
    add(store, source)
    assert looked_at[0] == source
    assert looked_at[-1].is_relative_to(tmp_path / "models")


def test_adding_a_used_file_again_leaves_it_in_place(store: ModelStore, tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf")
    before = blob(store, add(store, source)).stat().st_ino
    assert blob(store, add(store, source, "again")).stat().st_ino == before


def test_an_unknown_model_cannot_be_removed(store: ModelStore) -> None:
    with pytest.raises(EngineError) as caught:
        store.remove("none", "f32")
    assert caught.value.code == "unknown_model"


def test_a_damaged_index_says_so(store: ModelStore, tmp_path: Path) -> None:
    add(store, write_model(tmp_path / "m.gguf"))
    (tmp_path / "models" / "models.json").write_text("{")
    with pytest.raises(EngineError, match="damaged"):
        store.list()


def signed_model(path: Path) -> SignedModel:
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = json.dumps(make_bundle(make_statement({".": path.read_bytes()}), key)).encode()
    return open_signature(bundle, TrustedKey.load(public_pem(key)))


def test_a_signature_of_the_file_is_kept_with_the_model(tmp_path: Path, store: ModelStore) -> None:
    source = write_model(tmp_path / "m.gguf")
    signed = signed_model(source)
    model = store.add("tiny", source, Claim(signed=signed), progress=lambda _: None)
    assert model.signature == signed.signature
    assert [each.signature for each in store.list()] == [signed.signature]
    # Added again without the signature, it is still the file that was signed.
    assert add(store, source).signature == signed.signature


@pytest.mark.parametrize("take", [False, True], ids=["copied", "moved"])
def test_a_signature_of_another_file_is_refused_and_the_file_stays(
    tmp_path: Path, store: ModelStore, *, take: bool
) -> None:
    source = write_model(tmp_path / "m.gguf")
    content = source.read_bytes()
    signed = signed_model(write_model(tmp_path / "other.gguf", seed=1))
    with pytest.raises(ModelSignatureError, match="another file"):
        store.add("tiny", source, Claim(signed=signed), progress=lambda _: None, take=take)
    assert store.list() == ()
    assert source.read_bytes() == content


def test_a_variant_keeps_the_digest_of_its_parent(tmp_path: Path, store: ModelStore) -> None:
    source = write_model(tmp_path / "m.gguf")
    parent = "sha256:" + "0" * 64
    assert store.add("tiny", source, Claim(parent=parent), progress=lambda _: None).parent == parent
    assert add(store, source).parent == parent


def test_a_workspace_is_gone_at_its_end(store: ModelStore) -> None:
    with store.workspace() as workspace:
        (workspace / "file").write_bytes(b"x")
        assert store.leftovers() == ()
    assert not workspace.exists()
