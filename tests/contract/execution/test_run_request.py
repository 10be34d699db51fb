import json

import pytest

from contracts.execution.run_request import MAX_PROMPT_BYTES, RunRequest
from contracts.wire.errors import ContractError
from tests.fakes.run_requests import spec_request


def test_the_defaults_are_the_documented_ones() -> None:
    request = RunRequest.parse(b'{"model":"m","prompt":"p","execution":{"backend":"cpu_avx2","quantization":"q4_1"}}')
    execution = request.execution
    assert execution.scheduler_policy == "default"
    assert execution.limits.max_tokens == 256
    assert execution.limits.max_watts is None
    assert execution.sampling.temperature == 0
    assert execution.stop == ()
    assert request.nonce is None


@pytest.mark.parametrize(
    ("prompt", "fits"), [("a" * MAX_PROMPT_BYTES, True), ("é" * (MAX_PROMPT_BYTES // 2 + 1), False)]
)
def test_a_prompt_is_bounded_in_bytes(prompt: str, fits: bool) -> None:
    data = json.dumps(spec_request(prompt=prompt)).encode()
    if fits:
        assert RunRequest.parse(data).prompt == prompt
        return
    with pytest.raises(ContractError) as caught:
        RunRequest.parse(data)
    assert caught.value.errors[0].field == "/prompt"


@pytest.mark.parametrize("temperature", [1e-300, 1e-45, 0.009, -0.1, 2.1])
def test_a_temperature_is_greedy_or_one_that_can_be_computed(temperature: float) -> None:
    request = spec_request()
    request["execution"] = request["execution"] | {"sampling": {"temperature": temperature}}
    with pytest.raises(ContractError) as caught:
        RunRequest.parse(json.dumps(request).encode())
    assert caught.value.errors[0].field == "/execution/sampling/temperature"
