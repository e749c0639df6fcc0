"""What every request passes: the API key, the refusal while draining, measurements and the log."""

import hmac
import logging
import re
import time
import urllib.parse

from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxpersona.serving.errors import ApiError
from jaxpersona.serving.service import Service

_log = logging.getLogger("jaxpersona.serving")
_WITHOUT_KEY = re.compile(r"/|/health|/page/[^/]*")
"""The playground's files, and what a load balancer asks."""
_WHILE_DRAINING = ("/health", "/metrics")


class Gate:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, service: Service):
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        http, start, status = HttpRequest(scope), time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        refused = self._refusal(http)
        try:
            await (self._app if refused is None else refused.response())(scope, receive, watched)
        except Exception:
            status = 500  # which is what the middleware around this one answers
            raise
        finally:
            persona = scope.get("state", {}).get("persona", "")
            endpoint = getattr(scope.get("endpoint"), "__name__", "")  # not the path: clients could make up labels
            self._service.metrics.count_request(endpoint, persona, status)
            elapsed = time.perf_counter() - start
            path = urllib.parse.quote(http.url.path)  # without control characters, which a terminal would obey
            _log.info("%s %s %d %s %.2f s", http.method, path, status, persona or "-", elapsed)

    def _refusal(self, http: HttpRequest) -> ApiError | None:
        key, path = self._service.settings.api_key, http.url.path
        if key and not _WITHOUT_KEY.fullmatch(path) and not has_key(http, key):
            message = "the API key is missing or wrong; send it as Authorization: Bearer KEY"
            return ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        if self._service.draining and path not in _WHILE_DRAINING:
            return ApiError(503, "the server is about to end and takes no new requests", code="shutting_down")
        return None


def has_key(http: HttpRequest, key: str) -> bool:
    """Returns whether a request carries the key."""
    given = http.headers.get("authorization", "").encode("latin-1")  # the bytes that were sent
    return hmac.compare_digest(given, f"Bearer {key}".encode())
