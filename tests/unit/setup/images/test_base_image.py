"""The id of an imported image, from answers that real container engines gave."""

import pytest

from supervisor.domain.errors import SetupError
from supervisor.setup.images.base_image import read_import

ID = "sha256:" + "3" * 64


@pytest.mark.parametrize(
    "answer",
    [
        # Docker 20.10, then Podman 4.3, which ignores the tag that was asked for.
        f'{{"status":"{ID}"}}\r\n',
        f'{{"status":"{ID}","progress":"","progressDetail":{{}},"id":"{ID}"}}\n',
        f'{{"status":"Importing"}}\n{{"status":"{ID}"}}\n',
    ],
)
def test_the_image_is_the_one_that_the_answer_names(answer: str) -> None:
    assert read_import(answer) == ID


@pytest.mark.parametrize("answer", ["", '{"status":"Loaded"}', '{"error":"no space left on device"}'])
def test_an_answer_without_an_image_is_told(answer: str) -> None:
    with pytest.raises(SetupError) as caught:
        read_import(answer)
    assert caught.value.code == "base_image_failed"
