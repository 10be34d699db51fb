"""The route that Prometheus asks."""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

__all__ = ["METRICS", "METRICS_HANDLERS", "build_registry"]

METRICS: web.AppKey[CollectorRegistry] = web.AppKey("metrics")


def build_registry(collectors: Iterable[Collector]) -> CollectorRegistry:
    """Return a registry of these alone: not the library's own, which would tell of the process and its interpreter."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


async def get_metrics(request: web.Request) -> web.StreamResponse:
    """GET /metrics."""
    # Always in the format that every Prometheus reads: the library's handler, which would choose one by `Accept`,
    # raises TypeError where a caller writes a version that is no number (0.26).
    text = generate_latest(request.app[METRICS])
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


METRICS_HANDLERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {"getMetrics": get_metrics}
