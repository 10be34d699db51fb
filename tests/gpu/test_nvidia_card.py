"""The NVML meter and limit on a real NVIDIA card: `make test-gpu`. Nothing of the card is changed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.adapters.model_meter import ModelMeter
from supervisor.adapters.nvml import open_nvml
from supervisor.adapters.nvml_device import NvmlDevice, open_device
from supervisor.adapters.nvml_limit import NvmlLimit, open_limit
from supervisor.domain.errors import EngineError
from supervisor.domain.meter import MissingMeter

pytestmark = pytest.mark.gpu

# Twenty steps of the counter.
WATCHED_S = 2.0


@pytest.fixture
def card() -> Iterator[NvmlDevice]:
    device = open_device()
    if isinstance(device, MissingMeter):
        pytest.skip(f"no NVIDIA card can be used here: {device.reason}")
    yield device
    device.close()


@pytest.fixture
def limit(card: NvmlDevice, tmp_path: Path) -> Iterator[NvmlLimit]:
    limit = open_limit(tmp_path / "kept.json")
    if isinstance(limit, MissingMeter):
        pytest.skip(f"{card.name} has no power limit: {limit.reason}")
    yield limit
    limit.close()


def test_the_card_tells_who_it_is(card: NvmlDevice) -> None:
    assert card.name
    assert card.uuid.startswith("GPU-")
    assert card.index == 0


def test_the_counter_moves_as_that_of_a_card(card: NvmlDevice) -> None:
    # Whose processes they are does not matter here, so all of them are taken for the engine's.
    meter = open_nvml(ModelMeter(), is_ours=lambda _pid, _container_id: True)
    if isinstance(meter, MissingMeter):
        pytest.skip(f"the energy of {card.name} is not its own: {meter.reason}")
    before = meter.read()
    time.sleep(WATCHED_S)
    after = meter.read()
    meter.close()
    start_uj, end_uj = before.energy_uj["gpu-0"], after.energy_uj["gpu-0"]
    assert start_uj is not None
    assert end_uj is not None
    power_mw = (end_uj - start_uj) * 1_000_000 / (after.at_ns - before.at_ns)
    _lowest_mw, highest_mw = card.limit_range_mw()
    assert 1000 < power_mw < 2 * highest_mw


def test_a_card_with_a_process_on_it_is_not_ours(card: NvmlDevice) -> None:
    meter = open_nvml(ModelMeter())
    if isinstance(meter, MissingMeter):
        assert card.is_partitioned() or card.processes(), meter.reason
    else:
        assert meter.read().faults == ()
        meter.close()


def test_the_limit_in_force_can_be_set_again_where_this_user_may(card: NvmlDevice, limit: NvmlLimit) -> None:
    own_mw = card.limit_mw()
    assert limit.minimum_mw <= own_mw <= limit.maximum_mw
    try:
        limit.set(own_mw)
    except EngineError as error:
        if "Insufficient Permissions" not in error.detail and "Not Supported" not in error.detail:
            raise
    limit.restore()
    assert card.limit_mw() == own_mw


def test_a_limit_under_the_lowest_is_refused(limit: NvmlLimit) -> None:
    with pytest.raises(EngineError, match="takes limits from"):
        limit.set(limit.minimum_mw - 1)
