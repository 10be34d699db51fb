"""Plain containers: the cost of the container engine alone, with nothing of ours in them."""

import threading
import time
from collections.abc import Callable

import docker

__all__ = ["NoOp", "count_rate", "labelled_containers"]

LABELS = {"org.weos.benchmark": "1"}


class NoOp:
    """`docker run` of a program that does nothing, over the container engine's API: create, start, wait, remove.

    The command line is left out: starting it would cost the peer some 30 ms more.
    """

    def __init__(self, docker_host: str, image_id: str) -> None:
        self._client = docker.APIClient(base_url=docker_host, version="auto")
        self._image_id = image_id

    def __call__(self) -> float:
        """Run once; return the seconds."""
        begun_s = time.perf_counter()
        container = self._client.create_container(self._image_id, ["true"], network_disabled=True, labels=LABELS)["Id"]
        self._client.start(container)
        self._client.wait(container)
        self._client.remove_container(container)
        return time.perf_counter() - begun_s

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def count_rate(callers: int, seconds: float, make: Callable[[], Callable[[], object]]) -> float:
    """Return the rate at which concurrent callers finish, each waiting for its own call.

    What is under way when time is up is finished and counted, and so is its time.
    """
    counts = [0] * callers
    works = [make() for _ in range(callers)]
    faults: list[BaseException] = []
    begun_s = time.perf_counter()

    def call(number: int) -> None:
        try:
            while time.perf_counter() - begun_s < seconds:
                works[number]()
                counts[number] += 1
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            faults.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return sum(counts) / (time.perf_counter() - begun_s)


def labelled_containers(docker_host: str, label: str) -> list[str]:
    """Return the containers with a label, running or not."""
    client = docker.APIClient(base_url=docker_host, version="auto")
    try:
        return [str(each["Id"]) for each in client.containers(all=True, filters={"label": label})]
    finally:
        client.close()
