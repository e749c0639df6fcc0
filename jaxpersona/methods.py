"""The methods: each a small value that says how it chooses weights, and what it needs to know of the calibration data."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax

from jaxpersona import scores
from jaxpersona.errors import InputError, nearest
from jaxpersona.selector import Selector, check_sparsity

Need = Literal["statistics", "evidence", "residuals"]
"""What a ``Calibration`` collects."""
Moments = Mapping[str, jax.Array]
"""Statistics [in] of one persona at one layer's site: ``mean_abs``, ``mean``, ``mean_square``."""


@dataclasses.dataclass(frozen=True)
class Method:
    """What all methods share: the budget, and where it applies.

    Attributes:
      sparsity: share of every output's weights that is removed, in [0, 1).
      select: which modules and layers are masked (see ``selector.py``).
      overrides: sparsity by selector, as a mapping or (selector, sparsity) pairs; later ones win.
    """

    sparsity: float = 0.3
    select: str = "all"
    overrides: Mapping[str, float] | tuple[tuple[str, float], ...] = ()

    name: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]]

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, "sparsity")
        Selector(self.select)
        pairs = self.overrides.items() if isinstance(self.overrides, Mapping) else self.overrides
        object.__setattr__(self, "overrides", tuple((text, value) for text, value in pairs))  # hashable, for jit

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array) -> jax.Array:
        """Importance float32 [in, out] of one layer's kernel [in, out] to a persona; ``key`` serves methods that draw."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Wanda(Method):
    """Absolute weight times activation strength (Eq. 3); strength is E|h| (``abs``, Eq. 2) or the root of E h^2 (``rms``)."""

    activation: Literal["abs", "rms"] = "abs"
    name: ClassVar[str] = "wanda"
    needs: ClassVar[tuple[Need, ...]] = ("statistics",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ("abs", "rms"):
            raise InputError(f"activation {self.activation!r} of method wanda is unknown; known: abs, rms")

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array) -> jax.Array:
        """Eq. 3."""
        assert moments is not None
        strength = moments["mean_abs"] if self.activation == "abs" else moments["mean_square"] ** 0.5
        return scores.wanda(kernel, strength)


@dataclasses.dataclass(frozen=True)
class Magnitude(Method):
    """Absolute weight, a control that knows no persona: all personas get one and the same mask."""

    name: ClassVar[str] = "magnitude"
    needs: ClassVar[tuple[Need, ...]] = ()

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array) -> jax.Array:
        """Absolute weight."""
        return scores.magnitude(kernel)


@dataclasses.dataclass(frozen=True)
class Random(Method):
    """Seeded noise, a control that knows neither weights nor data: each persona gets its own draw."""

    name: ClassVar[str] = "random"
    needs: ClassVar[tuple[Need, ...]] = ()

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array) -> jax.Array:
        """Uniform noise."""
        return scores.random(kernel, key)


@dataclasses.dataclass(frozen=True)
class FirstOrder:
    """First-order (Taylor) saliency of removing a weight, against the damage it does to neutral text (``first_order.py``).

    Attributes:
      sparsity: share of all maskable weights that is removed, over all layers together, in [0, 1).
      max_perplexity_increase: instead of a share, the damage budget: the largest share whose perplexity on neutral text rises by
        no more than this (0.02: 2 %). Where neither is given, 0.02.
      select: which modules and layers are masked (see ``selector.py``).
    """

    sparsity: float | None = None
    max_perplexity_increase: float | None = None
    select: str = "all"
    name: ClassVar[str] = "first_order"
    needs: ClassVar[tuple[Need, ...]] = ("evidence",)

    def __post_init__(self) -> None:
        Selector(self.select)
        if self.sparsity is not None and self.max_perplexity_increase is not None:
            raise InputError("method first_order takes sparsity or max_perplexity_increase, not both")
        if self.sparsity is not None:
            check_sparsity(self.sparsity, "sparsity")
        elif self.max_perplexity_increase is None:
            object.__setattr__(self, "max_perplexity_increase", 0.02)
        elif not self.max_perplexity_increase > 0:
            raise InputError(f"max_perplexity_increase is {self.max_perplexity_increase}; it must be above 0, e.g. 0.02 for 2 %")


@dataclasses.dataclass(frozen=True)
class Steering:
    """Activation steering, contrastive activation addition (Rimsky et al., 2024): adds a vector, masks nothing (``steering.py``).

    Attributes:
      layer: after which layer, from 0, the vector is added; None is the middle of the model.
      strength: multiple of the mean difference between the two personas' residual streams.
    """

    layer: int | None = None
    strength: float = 1.0
    name: ClassVar[str] = "steering"
    needs: ClassVar[tuple[Need, ...]] = ("residuals",)

    def __post_init__(self) -> None:
        if not 0 < self.strength < float("inf"):
            raise InputError(f"method.strength is {self.strength}; it must be above 0")


AnyMethod = Method | FirstOrder | Steering
METHODS: dict[str, type[AnyMethod]] = {method.name: method for method in (Wanda, Magnitude, Random, FirstOrder, Steering)}


def by_name(name: str, **settings: object) -> AnyMethod:
    """The method called ``name`` with ``settings``; those that are None keep the method's default.

    Raises:
      InputError: for an unknown method, or a setting it does not have.
    """
    if name not in METHODS:
        raise InputError(f"method.name {name!r} is unknown; {nearest(name, METHODS)}")
    settings = {key: value for key, value in settings.items() if value is not None}
    known = {field.name for field in dataclasses.fields(METHODS[name])}
    for key in settings:
        if key not in known:
            raise InputError(f"method {name} has no setting {key!r}; it has: {', '.join(sorted(known))}")
    return METHODS[name](**settings)  # type: ignore[arg-type]
