"""An installation of known content, and the stand-in for `InstallationPort`."""

from dataclasses import dataclass, field

from contracts.execution.execution_plan import ExecutionPlan, TensorTypeCount
from supervisor.adapters.policies import load_policies
from supervisor.domain.errors import Refusal
from supervisor.domain.models.cache_shape import CacheShape
from supervisor.domain.planning.installation import Backend, HostFacts, Installation, InstalledModel
from supervisor.domain.power.energy import select_power_model
from supervisor.domain.sandbox.escape_evidence import EscapeEvidence, find_evidence
from supervisor.domain.sandbox.receipt import ImageFacts
from supervisor.domain.scheduling.topology import Core
from tests.fakes.sandbox_facts import IMAGE_FACTS
from tests.meters import make_metering
from tests.places import REPOSITORY

__all__ = ["CHAT_TEMPLATE", "IMAGE", "MODEL_SHA256", "VERSION", "FakeInstallation", "fixed_installation"]

IMAGE = "sha256:" + "a" * 64
MODEL_SHA256 = "sha256:" + "b" * 64
CHAT_TEMPLATE = "sha256:" + "c" * 64
VERSION = "0.1.0+dev.0123456789ab"


def fixed_installation(
    *,
    cpus: int = 2,
    processor: str = "AMD EPYC 7763",
    memory_bytes: int = 2**36,
    cores: tuple[Core, ...] | None = None,
) -> Installation:
    """An installation of known content on a machine of known size, with the repository's own policies."""
    policies = load_policies(REPOSITORY / "policies")
    return Installation(
        engine_version=VERSION,
        models=(
            InstalledModel(
                name="smollm2-135m-instruct",
                quantization="q4_1",
                architecture="llama",
                context_length=8192,
                cache=CacheShape(token_bytes=23_040, window_token_bytes=0, window_tokens=0, state_bytes=0),
                sha256=MODEL_SHA256,
                size_bytes=98_362_432,
                mixture=(TensorTypeCount(type="q4_1", elements=134_479_872),),
                chat_template=CHAT_TEMPLATE,
                signature=None,
            ),
        ),
        backends=(
            Backend("cpu_avx2", frozenset({"avx2", "fma"}), IMAGE),
            Backend("cpu_avx512", frozenset({"avx512f"}), IMAGE),
            Backend("cpu_x86_64", frozenset({"sse2"}), None),
        ),
        policies=policies,
        power=make_metering(model=select_power_model(processor, policies.power)).facts(),
        host=HostFacts(
            processor=processor,
            cores=cores or tuple(Core((cpu,)) for cpu in range(cpus)),
            cpu_flags=frozenset({"sse2", "avx2", "fma"}),
            memory_bytes=memory_bytes,
        ),
    )


@dataclass
class FakeInstallation:
    """See `InstallationPort`."""

    value: Installation = field(default_factory=fixed_installation)
    image_fault: Refusal | None = None

    def read(self) -> Installation:
        return self.value

    def find_escape_evidence(self, plan: ExecutionPlan) -> EscapeEvidence:
        return find_evidence(None, plan, kernel="6.1")

    def describe_image(self, backend: str, image_id: str) -> ImageFacts:
        del backend, image_id
        if self.image_fault is not None:
            raise self.image_fault
        return IMAGE_FACTS
