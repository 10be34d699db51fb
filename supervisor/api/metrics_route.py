"""The route that Prometheus scrapes."""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

__all__ = ["METRICS", "METRICS_HANDLERS", "build_registry"]

METRICS: web.AppKey[CollectorRegistry] = web.AppKey("metrics")


def build_registry(collectors: Iterable[Collector]) -> CollectorRegistry:
    """Return a registry of these collectors alone; the library's own would report the process and the interpreter."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


async def get_metrics(request: web.Request) -> web.StreamResponse:
    """GET /metrics."""
    # Always the format that every Prometheus reads. The library's handler chooses one by `Accept`, and raises TypeError
    # for a version that is not a number (0.26).
    text = generate_latest(request.app[METRICS])
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


METRICS_HANDLERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {"getMetrics": get_metrics}
