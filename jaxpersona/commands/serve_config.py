"""Configuration of the command ``serve``."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxpersona.commands.shared_config import MeshOptions
from jaxpersona.core.errors import InputError
from jaxpersona.core.ranges import check_at_least

_PACKAGES = ("starlette", "uvicorn", "sse_starlette", "prometheus_client")


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """Serves the personas of runs to OpenAI's clients, and a page.

    Args:
      run (DIR): folder of a discover run, or [DIR,DIR2] of the same model
      host (ADDRESS): address to listen on; 0.0.0.0 lets other machines in
      port (PORT): port to listen on; 0 takes a free one
      rows (REQUESTS): number of requests that run at once; others wait
      max_length (TOKENS): largest length of a prompt and its answer together
      queue (REQUESTS): largest number of waiting requests; more are refused
      conditions: trains a classifier of prompts for the data of each run, for requests with persona.if
      warm_up: compile before the server answers; if false, the first requests wait for it, and /health says so
      api_key (KEY): key that clients must send; default: the environment variable JAXPERSONA_API_KEY, or none
      allow_loading: let clients load and remove personas (/v1/personas)
      max_body (BYTES): largest size of a request
      log_texts: log prompts and answers
      weights: where masked weights come from (docs/engine.md); auto: packed, or folded if a persona is not a mask
      dtype: precision; auto: bfloat16 on GPU and TPU, float32 on CPU (batches as in discover)
      mesh: data x model must equal the number of devices
    """

    run: list[str] | str
    host: str = "127.0.0.1"
    port: int = 8000
    rows: int = 8
    max_length: int = 1024
    queue: int = 256
    conditions: bool = False
    warm_up: bool = True
    api_key: str | None = None
    allow_loading: bool = False
    max_body: int = 4 * 2**20
    log_texts: bool = False
    weights: Literal["auto", "folded", "packed"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    shown_first: ClassVar[tuple[str, ...]] = ("run", "host", "port", "api_key", "allow_loading")
    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "engine": ("rows", "max_length", "queue", "weights", "dtype", "warm_up"),
        "access": ("api_key", "allow_loading", "max_body", "log_texts"),
    }

    def __post_init__(self) -> None:
        for package in _PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise InputError(f'serve needs the package {package}: pip install "jaxpersona[serve]"')
        if self.conditions and importlib.util.find_spec("sklearn") is None:
            raise InputError('conditions need the package scikit-learn: pip install "jaxpersona[serve]"')
        for name in ("rows", "queue", "max_body"):
            check_at_least(1, getattr(self, name), name)
        check_at_least(2, self.max_length, "max_length")
        if not 0 <= self.port < 2**16:
            raise InputError(f"port is {self.port}; it must lie in 0 to 65535")
        if not self.runs:
            raise InputError("run is empty; give the folder of a discover run")

    @property
    def runs(self) -> list[str]:
        """The runs' folders."""
        return [run for run in ([self.run] if isinstance(self.run, str) else self.run) if run.strip()]
