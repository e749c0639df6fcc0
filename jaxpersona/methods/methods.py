"""The methods: each a small value that says how it chooses weights, and what it needs to know of the calibration data."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.protocol import Protocol
from jaxpersona.models.perplexity import BUILTIN_TEXT, read_text
from jaxpersona.models.selector import Selector, check_sparsity
from jaxpersona.ops import topk
from jaxpersona.scores import importance

Need = Literal["statistics", "hessians", "evidence", "residuals"]
"""What a ``Calibration`` collects."""
Moments = Mapping[str, jax.Array]
"""Statistics [2, in] at one layer's site by name (see ``Statistics``): of the persona scored for, and of its opposite."""
Couple = tuple[jax.Array, jax.Array]
"""An array [in, out] for each of the two personas."""


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
    prunes_head: ClassVar[bool] = False
    """Whether the head is masked under protocols that mask it."""

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, "sparsity")
        Selector(self.select)
        pairs = self.overrides.items() if isinstance(self.overrides, Mapping) else self.overrides
        object.__setattr__(self, "overrides", tuple((text, value) for text, value in pairs))  # hashable, for jit

    def check(self, protocol: Protocol) -> None:
        """Raises an ``InputError`` where a setting contradicts the protocol."""

    def block(self, protocol: Protocol) -> int | None:
        """How many neighbouring inputs of an output compete for a budget of their own; None: all of them for one."""
        return None

    def by_output(self, protocol: Protocol) -> bool:
        """Whether the scores of an output's weights do not depend on the kernel's other outputs."""
        return True

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Importance float32 [in, out] of one layer's kernel [in, out] to a persona; ``key`` serves methods that draw."""
        raise NotImplementedError

    def choose(self, scores: Couple, ties: Couple | None, keep: jax.Array, protocol: Protocol) -> Couple:
        """The bool masks of both personas, each with ``keep`` True in every output, from their scores (and what breaks ties)."""
        block = self.block(protocol)
        if block is not None:
            return topk.block_top_k_mask(scores[0], keep, block), topk.block_top_k_mask(scores[1], keep, block)
        first, second = ties or (None, None)
        return topk.top_k_mask(scores[0], keep, first), topk.top_k_mask(scores[1], keep, second)


def _one_of(known: tuple[str, ...], value: str, setting: str, method: str) -> None:
    if value not in known:
        raise InputError(f"{setting} {value!r} of method {method} is unknown; known: {', '.join(known)}")


def _at_least_zero(value: float, what: str) -> None:
    if not value >= 0:
        raise InputError(f"{what} is {value}; it must not be negative")


def _strength(moments: Moments, protocol: Protocol) -> jax.Array:
    """Activation strength (Eq. 2) of both personas, [2, in]."""
    return moments["norm"] if protocol.statistics == "lines" else moments["mean_abs"]


def _variance(moments: Moments, protocol: Protocol) -> jax.Array:
    """Variance of the activation strength, [2, in]."""
    if protocol.statistics == "lines":
        return moments["norm_variance"]
    return jnp.maximum(moments["mean_square"] - jnp.square(moments["mean_abs"]), 0)


@dataclasses.dataclass(frozen=True)
class Wanda(Method):
    """Absolute weight times activation strength (Eq. 3).

    Attributes:
      activation: ``abs``, the strength of Eq. 2 as the protocol measures it, or ``rms``, the root of E h^2.
    """

    activation: Literal["abs", "rms"] = "abs"
    name: ClassVar[str] = "wanda"
    needs: ClassVar[tuple[Need, ...]] = ("statistics",)
    prunes_head: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of(("abs", "rms"), self.activation, "activation", self.name)

    def check(self, protocol: Protocol) -> None:
        """``rms`` is no statistic of whole texts."""
        if self.activation == "rms" and protocol.statistics == "lines":
            raise InputError(f"protocol {protocol.name} measures activation by the norm of each text; leave out activation rms")

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Eq. 3."""
        assert moments is not None
        strength = _strength(moments, protocol) if self.activation == "abs" else jnp.sqrt(moments["mean_square"])
        return importance.wanda(kernel, strength[0])


@dataclasses.dataclass(frozen=True)
class Sparse(Method):
    """Optimal-brain-surgeon saliency with a diagonal Hessian (Eq. 5); no weight is updated.

    Attributes:
      damping: lambda of Eq. 5, as a share of the mean of the diagonal.
    """

    damping: float = 0.01
    name: ClassVar[str] = "sparse"
    needs: ClassVar[tuple[Need, ...]] = ("statistics",)
    prunes_head: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least_zero(self.damping, "damping")

    def block(self, protocol: Protocol) -> int | None:
        """Columns are ranked within blocks where the protocol ranks columns."""
        return 128 if protocol.sparse_columns else None

    def by_output(self, protocol: Protocol) -> bool:
        """The norm of a column is one over all outputs."""
        return not protocol.sparse_columns

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Eq. 5, or the norm of each column."""
        assert moments is not None
        if protocol.sparse_columns:
            return importance.column_norm(kernel)
        return importance.sparse(kernel, moments["mean_square"][0], self.damping)


@dataclasses.dataclass(frozen=True)
class SparseGPT(Method):
    """Optimal-brain-surgeon pruning with the full Hessian, block by block (``sparsegpt.py``).

    Attributes:
      damping: added to the diagonal of the Hessian, as a share of its mean.
      update: whether the weights that remain change to make up for those removed; the persona then is no mask alone.
    """

    damping: float = 0.01
    update: bool = False
    name: ClassVar[str] = "sparsegpt"
    needs: ClassVar[tuple[Need, ...]] = ("hessians",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.damping > 0:
            raise InputError(f"damping is {self.damping}; it must be above 0, or the Hessian may have no inverse")

    def check(self, protocol: Protocol) -> None:
        """The scripts know no full SparseGPT."""
        if protocol.sparse_columns:
            raise InputError(f"protocol {protocol.name} has no full SparseGPT; what its scripts call so is method sparse")


@dataclasses.dataclass(frozen=True)
class ContrastiveWanda(Method):
    """Absolute weight times how much stronger its input is activated by a persona than by its opposite (Eq. 8).

    Attributes:
      activation: phi of Eq. 8, ``relu`` or ``softplus``. ReLU gives all weights of inputs that the opposite persona activates
        more a score of 0; which of them are kept is a matter of ties (see ``Protocol``).
      temperature: of softplus; None is the protocol's.
      eps: keeps inputs without variance finite.
    """

    activation: Literal["relu", "softplus"] = "relu"
    temperature: float | None = None
    eps: float = 1e-6
    name: ClassVar[str] = "contrastive_wanda"
    needs: ClassVar[tuple[Need, ...]] = ("statistics",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of(("relu", "softplus"), self.activation, "activation", self.name)
        if self.temperature is not None and self.activation != "softplus":
            raise InputError("temperature is a setting of activation softplus; leave it out with relu")
        for value, what in ((self.temperature, "temperature"), (self.eps, "eps")):
            if value is not None and not value > 0:
                raise InputError(f"{what} is {value}; it must be above 0")

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Eq. 8."""
        assert moments is not None
        mean, variance = _strength(moments, protocol), _variance(moments, protocol)
        difference = importance.standardized_difference(mean, variance, self.eps, protocol.eps_inside_root)
        temperature = self.temperature or protocol.softplus_temperature
        return importance.contrastive_wanda(kernel, difference, temperature if self.activation == "softplus" else None)


@dataclasses.dataclass(frozen=True)
class ContrastiveSparse(Method):
    """Difference of the personas' Sparse scores, each as a share of its output's sum (Eq. 9).

    Attributes:
      policy: who keeps a weight that both personas want. ``none``: both. ``argmax``: the one with the larger score; an output's
        weights are put into one order, of which each persona has an end. ``first``: the first persona; the second chooses from
        what is left. None is the protocol's. Scores of Eq. 9 are opposite, so the last two differ in ties alone.
      damping: lambda of Eq. 5, as a share of the mean of the diagonal.
    """

    policy: Literal["none", "argmax", "first"] | None = None
    damping: float = 0.01
    name: ClassVar[str] = "contrastive_sparse"
    needs: ClassVar[tuple[Need, ...]] = ("statistics",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy is not None:
            _one_of(("none", "argmax", "first"), self.policy, "policy", self.name)
        _at_least_zero(self.damping, "damping")

    def check(self, protocol: Protocol) -> None:
        """Disjoint masks need half of the weights each at most."""
        policy = self.policy or protocol.disjoint
        least = min([self.sparsity, *dict(self.overrides).values()])
        if policy != "none" and not protocol.refill and least < 0.5:
            raise InputError(f"disjoint masks (policy {policy}) need a sparsity of at least 0.5, not {least}; or use policy none")

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Eq. 9, or the standardized difference of the signed means, whatever its sign."""
        assert moments is not None
        if protocol.symmetric_sparse:
            signed = importance.standardized_difference(moments["line_mean"], moments["line_mean_variance"], 1e-6, True)
            return jnp.broadcast_to(jnp.abs(signed)[:, None], kernel.shape)
        own, other = (importance.sparse(kernel, square, self.damping) for square in moments["mean_square"])
        return importance.contrastive_sparse(own, other)

    def choose(self, scores: Couple, ties: Couple | None, keep: jax.Array, protocol: Protocol) -> Couple:
        """See ``policy``."""
        first, second = super().choose(scores, ties, keep, protocol)
        policy = self.policy or protocol.disjoint
        if policy == "first":
            left = jnp.where(first, -jnp.inf, scores[1])
            second = topk.top_k_mask(left, keep, ties and ties[1])
        if policy == "argmax":
            second = ~topk.top_k_mask(scores[0], scores[0].shape[0] - keep, ties and ties[0])
        return first, second


@dataclasses.dataclass(frozen=True)
class Magnitude(Method):
    """Absolute weight, a control that knows no persona: all personas get one and the same mask."""

    name: ClassVar[str] = "magnitude"
    needs: ClassVar[tuple[Need, ...]] = ()

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Absolute weight."""
        return importance.magnitude(kernel)


@dataclasses.dataclass(frozen=True)
class Random(Method):
    """Seeded noise, a control that knows neither weights nor data: each persona gets its own draw."""

    name: ClassVar[str] = "random"
    needs: ClassVar[tuple[Need, ...]] = ()

    def by_output(self, protocol: Protocol) -> bool:
        """Noise is drawn for the whole kernel."""
        return False

    def score(self, kernel: jax.Array, moments: Moments | None, key: jax.Array, protocol: Protocol) -> jax.Array:
        """Uniform noise."""
        return importance.random(kernel, key)


@dataclasses.dataclass(frozen=True)
class FirstOrder:
    """Contrastive Taylor pruning: weights whose removal turns to a persona for the least damage (``first_order.py``).

    Attributes:
      sparsity: share of all maskable weights that is removed, over all layers together, in [0, 1).
      max_perplexity_increase: instead of a share, the damage budget: the strongest mask under which perplexity on ``budget_text``
        rises by no more than this (0.02: 2 %). Where neither is given, 0.02.
      budget_text: ``builtin:neutral``, or a UTF-8 text file.
      select: which modules and layers are masked (see ``selector.py``).
    """

    sparsity: float | None = None
    max_perplexity_increase: float | None = None
    budget_text: str = BUILTIN_TEXT
    select: str = "all"
    name: ClassVar[str] = "first_order"
    needs: ClassVar[tuple[Need, ...]] = ("evidence",)

    def __post_init__(self) -> None:
        Selector(self.select)
        read_text(self.budget_text)  # says now, rather than after minutes of calibration, that it cannot be read
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
METHODS: dict[str, type[AnyMethod]] = {
    method.name: method
    for method in (Wanda, Sparse, SparseGPT, ContrastiveWanda, ContrastiveSparse, Magnitude, Random, FirstOrder, Steering)
}


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
