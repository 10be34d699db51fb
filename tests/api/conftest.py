"""Fixtures of the API tests; what they stand on is in `tests.api.harness`."""

import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.api.harness import SECRETS, Engine
from tests.fakes.runner_scripts import answering


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine(answering(["Olá", ", ", "mundo"])).serving() as serving:
        yield serving


@pytest.fixture(autouse=True)
def _logs_hold_no_secret(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    messages = [record.getMessage() for record in caplog.get_records("call")]
    assert not [message for message in messages if any(secret in message for secret in SECRETS)]
