"""The route that Prometheus asks."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from supervisor.domain.exposition import EXPOSITION_TYPE, Family, encode_exposition

__all__ = ["METRICS", "METRICS_HANDLERS", "FamilySource"]

FamilySource = Callable[[], tuple[Family, ...]]
METRICS: web.AppKey[tuple[FamilySource, ...]] = web.AppKey("metrics")


async def get_metrics(request: web.Request) -> web.StreamResponse:
    """GET /metrics."""
    families = [family for source in request.app[METRICS] for family in source()]
    return web.Response(body=encode_exposition(families), headers={"Content-Type": f"{EXPOSITION_TYPE}; version=0.0.4"})


METRICS_HANDLERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {"getMetrics": get_metrics}
