"""Answers ``POST /v1/personas`` and ``DELETE /v1/personas/NAME``: personas come and go while the server runs."""

import asyncio
import pathlib

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from jaxpersona.core.errors import InputError
from jaxpersona.masks.bundle import read_bundle, read_metadata
from jaxpersona.serving.body import read_object
from jaxpersona.serving.catalogue import Entry
from jaxpersona.serving.errors import ApiError
from jaxpersona.serving.fields import Fields
from jaxpersona.serving.service import Service

_POLL_SECONDS = 0.05


async def load_persona(http: HttpRequest) -> JSONResponse:
    """Loads the mask bundle at ``path`` as persona ``name``, by default the bundle's persona."""
    service = _allowed(http)
    fields = Fields(await read_object(http, service.settings.max_body_bytes))
    path, name = fields.get("path", str, ""), fields.get("name", str, "")
    fields.finish()
    if not path.strip():
        raise fields.error("path", "path is missing; give a mask bundle, DIR/masks/PERSONA of a run")
    folder = pathlib.Path(path).expanduser()
    try:
        name = name or str(read_metadata(folder).get("persona", folder.name))
        fields.checked("name", lambda: service.catalogue.check_new(name))
        persona = await run_in_threadpool(read_bundle, folder, service.identity)
        await asyncio.wrap_future(service.loop.call(lambda: service.loop.engine.add_persona(name, persona)))
    except (InputError, OSError) as error:
        raise ApiError(400, str(error), "path", "invalid_persona") from None
    service.catalogue.add(Entry(name, str(folder)))
    return JSONResponse(dict(service.catalogue.described(name)), 201)


async def remove_persona(http: HttpRequest) -> JSONResponse:
    """Removes a persona: new requests for it are refused at once, and the answer comes when running ones have ended."""
    service = _allowed(http)
    name = service.catalogue.remove(http.path_params["name"]).id
    engine = service.loop.engine
    while engine.uses(name):
        await asyncio.sleep(_POLL_SECONDS)
    await asyncio.wrap_future(service.loop.call(lambda: engine.remove_persona(name)))
    return JSONResponse({"id": name, "object": "model", "deleted": True})


def _allowed(http: HttpRequest) -> Service:
    service: Service = http.app.state.service
    if not service.settings.allow_loading:
        raise ApiError(403, "loading is off; start the server with --allow_loading true", code="loading_off")
    return service
