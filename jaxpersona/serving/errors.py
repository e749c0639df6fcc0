"""Errors of the HTTP interface, in OpenAI's shape."""

from typing import Any

from starlette.responses import JSONResponse

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A request that is refused, or that failed.

    Attributes:
      status: HTTP status.
      message: what is wrong and what to do, in one line.
      param: name of the field that is wrong; None if there is no single one.
      code: short name of the error for programs; None if clients know none.
      headers: HTTP headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers or {}

    def body(self) -> dict[str, Any]:
        """Returns the error as OpenAI's clients read it."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Returns the error as a response."""
        return JSONResponse(self.body(), self.status, self.headers)


def disconnected() -> ApiError:
    """Returns the end of a request whose client has gone, for the log; nobody reads it."""
    return ApiError(499, "the client has disconnected")


def shown(value: Any) -> str:
    """Returns a value of a request for a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
