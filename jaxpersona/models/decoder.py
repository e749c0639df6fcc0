"""The decoder of the Llama family (Llama, Mistral, Qwen, Gemma, SmolLM) in Flax Linen.

State is data: ``params``, ``masks``, ``stats`` and ``cache`` are variable collections of one shape. Kernels are stored (in, out);
the layers are stacked along a leading axis and run by ``nn.scan``, so compile time does not grow with depth. Module names are
Hugging Face's.

    logits = decoder.apply({"params": params}, tokens)
    logits = decoder.apply({"params": params, "masks": bools}, tokens)                 # weights masked out count as 0
    logits = decoder.apply({"params": params, "masks": bank}, tokens, personas=Personas(ids))  # a persona a sequence: bank.py
    logits, state = decoder.apply({"params": params}, tokens, mutable=["stats"], ...)  # state["stats"]: see statistics.py
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxpersona.models.config import ModelConfig, Rope
from jaxpersona.models.cpu import bfloat16_bits
from jaxpersona.models.cpu.matmul import matmul, probed
from jaxpersona.models.sites import SITES
from jaxpersona.ops.masked_matmul import masked_matmul

Array = jax.Array
BLOCKS, _SHORT = 4, 64  # blocks of queries, where a row is not short
Collect = Callable[[Array, Array], Any]
"""What to keep of the inputs [B, T, C] of a linear layer, given token weights [P, B, T]."""


class Personas(NamedTuple):
    """Which persona of a mask bank each sequence of a batch has.

    Attributes:
      ids: int32 [B], places in the bank.
      gamma: float32 [B], the share of its strength a removed weight keeps; None for 0.
    """

    ids: Array
    gamma: Array | None = None


def _banked(x: Array, kernel: Array, masks: Array, personas: Personas) -> Array:
    """x [B, T, in] times the weights of each sequence's persona."""
    if bfloat16_bits.is_compact(kernel):
        return bfloat16_bits.masked_matmul(x, kernel, masks, personas.ids, personas.gamma)
    return masked_matmul(x, kernel.astype(x.dtype), masks, personas.ids, 0.0 if personas.gamma is None else personas.gamma)


class Linear(nn.Module):
    """y = x W + b with W [in, out], under the ``masks`` collection if that is given.

    Masks are bool [in, out], or those of a bank (``bank.py``) with ``personas``. b is there where the architecture or the
    parameters given have one: a steering vector is a bias (``steering.py``). ``products`` is the dtype of what is multiplied, by
    default the narrower of those of x and W.
    """

    features: int
    use_bias: bool = False
    products: Any = None

    @nn.compact
    def __call__(self, x: Array, personas: Personas | None = None) -> Array:
        kernel = self.get_variable("params", "kernel")
        if kernel is None or not bfloat16_bits.is_compact(kernel):
            kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        mask = self.get_variable("masks", "kernel")
        if mask is not None and mask.dtype != bool:
            assert personas is not None, "a mask bank needs personas"
            y = _banked(x, kernel, mask, personas).astype(x.dtype)
        else:
            y = matmul(x, kernel if mask is None else jnp.where(mask, kernel, 0), self.products).astype(x.dtype)
        if self.has_variable("probes", "output"):  # where the squared gradient at the output is asked for
            y = probed(y, self.get_variable("probes", "output"))
        if self.use_bias or self.has_variable("params", "bias"):
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
        return y


class RMSNorm(nn.Module):
    """Root-mean-square norm in float32; ``offset`` is 1 for Gemma, whose weights are stored minus one."""

    eps: float
    offset: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],)).astype(jnp.float32) + self.offset
        wide = x.astype(jnp.float32)
        return (wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.eps) * scale).astype(x.dtype)


def rope_frequencies(rope: Rope, head_dim: int) -> np.ndarray:
    """Angular frequency of each of the head_dim / 2 planes, float32."""
    frequencies = rope.theta ** (-np.arange(0, head_dim, 2) / head_dim)
    if rope.kind == "linear":
        frequencies /= rope.factor
    elif rope.kind == "frequency_factors":
        frequencies /= np.asarray(rope.frequency_factors)
    elif rope.kind == "llama3":
        turns = rope.original_max_position * frequencies / (2 * np.pi)
        smooth = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
        smooth = np.clip(smooth, 0.0, 1.0)
        frequencies *= (1 - smooth) / rope.factor + smooth
    return frequencies.astype(np.float32)


def rope_tables(rope: Rope, head_dim: int, positions: Array) -> tuple[Array, Array]:
    """Cosines [B, T, 1, 1, head_dim / 2] and sines [B, T, 1, 2, head_dim / 2], the first negated, of integer positions [B, T]."""
    angles = positions[..., None, None, None].astype(jnp.float32) * rope_frequencies(rope, head_dim)
    return jnp.cos(angles), jnp.concatenate([-jnp.sin(angles), jnp.sin(angles)], axis=-2)


def rotate(x: Array, tables: tuple[Array, Array]) -> Array:
    """Applies the rotary embedding to heads x [B, T, H, head_dim], first half of the channels against the second.

    Halves are an axis, which is reversed: a CPU computes a concatenation of them one number at a time.
    """
    cos, sin = tables
    halves = x.astype(jnp.float32).reshape(*x.shape[:-1], 2, -1)
    return (halves * cos + jnp.flip(halves, -2) * sin).reshape(x.shape).astype(x.dtype)


def softcap(x: Array, cap: float | None) -> Array:
    """Squashes x smoothly into (-cap, cap) (Gemma 2); no cap, no change."""
    return x if cap is None else cap * jnp.tanh(x / cap)


class _Block(nn.Module):
    """Base of attention, MLP and layer: records activations at the ``sites`` in the ``stats`` collection."""

    config: ModelConfig
    collect: Collect | None = None
    sites: tuple[str, ...] = tuple(SITES)
    products: Any = None

    def record(self, site: str, x: Array, weights: Array | None) -> None:
        """Collects x [B, T, C] as it is multiplied."""
        if site in self.sites and self.collect is not None and weights is not None and self.is_mutable_collection("stats"):
            self.put_variable("stats", site, self.collect(x.astype(self.products or x.dtype), weights))


class Attention(_Block):
    """Grouped-query attention. Sites: ``attn_in`` feeds q, k and v, ``attn_out_in`` feeds o."""

    @nn.compact
    def __call__(self, x: Array, inputs: dict[str, Any]) -> Array:
        c = self.config
        batch, length, _ = x.shape
        self.record("attn_in", x, inputs["weights"])

        def heads(name: str, count: int) -> Array:
            projection = Linear(count * c.head_dim, c.qkv_bias, self.products, name=name)
            return projection(x, inputs["personas"]).reshape(batch, length, count, c.head_dim)

        q, k, v = heads("q_proj", c.num_heads), heads("k_proj", c.num_kv_heads), heads("v_proj", c.num_kv_heads)
        if c.qk_norm:
            offset = 1.0 if c.gemma_norms else 0.0
            q, k = RMSNorm(c.norm_eps, offset, name="q_norm")(q), RMSNorm(c.norm_eps, offset, name="k_norm")(k)
        q, k = rotate(q, inputs["rope"]), rotate(k, inputs["rope"])
        k, v = self._cached("k", k, inputs), self._cached("v", v, inputs)
        mixed = (attend if self.has_variable("cache", "k") else attend_to_earlier)(q, k, v, inputs["visible"], c)
        self.record("attn_out_in", mixed, inputs["weights"])
        return Linear(c.hidden_size, c.o_bias, self.products, name="o_proj")(mixed, inputs["personas"])

    def _cached(self, name: str, new: Array, inputs: dict[str, Any]) -> Array:
        """With a KV cache, writes the new entries [B, T, K, D] at their positions and returns all; without one, the new ones.

        The cache of all layers goes from layer to layer: a cache for each would be copied whole at every step. What is returned
        is [B, K, D, S] for k and [B, K, S, D] for v, in which ``attend`` multiplies, or they would be transposed at every step.
        """
        if not self.has_variable("cache", name):
            return new.transpose(0, 2, 3, 1) if name == "k" else new.swapaxes(1, 2)
        rows, layer, cache = jnp.arange(new.shape[0])[:, None], inputs["layer"], self.get_variable("cache", name)
        heads = (slice(None), slice(None)) if name == "k" else (slice(None),)
        cache = cache.at[layer, rows, *heads, inputs["positions"]].set(new.astype(cache.dtype))
        self.put_variable("cache", name, cache)
        return cache[layer].astype(new.dtype)


def attend(q: Array, k: Array, v: Array, visible: Array, config: ModelConfig) -> Array:
    """Softmax attention, scores in float32: [B, T, H * D] of q [B, T, H, D], k [B, K, D, S], v [B, K, S, D], visible [B, T, S].

    The query heads of a key head are rows of one product, and the mixture, not its S shares, is divided by the sum of the
    exponentials, as in FlashAttention (Dao et al., 2022): one pass less over the scores, which are what takes time on a CPU.
    """
    batch, length, heads, dim = q.shape
    shared, keys = k.shape[1], k.shape[3]
    q = q.reshape(batch, length, shared, heads // shared, dim).transpose(0, 2, 3, 1, 4).reshape(batch, shared, -1, dim)
    scores = jnp.einsum("bkrd,bkds->bkrs", q, k, preferred_element_type=jnp.float32) * config.query_scale
    scores = softcap(scores, config.attention_softcap).reshape(batch, shared, -1, length, keys)
    # A finite floor: a row that sees nothing (padding) then averages instead of becoming NaN.
    scores = jnp.where(visible[:, None, None], scores, jnp.finfo(jnp.float32).min)
    shares = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    rows = shares.astype(v.dtype).reshape(batch, shared, -1, keys)
    mixed = jnp.einsum("bkrs,bksd->bkrd", rows, v, preferred_element_type=jnp.float32)
    mixed = mixed.reshape(batch, shared, -1, length, dim) / shares.sum(axis=-1)[..., None]
    return mixed.astype(v.dtype).transpose(0, 3, 1, 2, 4).reshape(batch, length, heads * dim)


@functools.partial(jax.checkpoint, static_argnums=4)
def attend_to_earlier(q: Array, k: Array, v: Array, visible: Array, config: ModelConfig) -> Array:
    """``attend`` where no query sees a later key, of as many keys as queries: a block of queries and the keys up to its end at a
    time, which spares most of the scores that nobody sees. A backward pass forms scores anew instead of keeping them.
    """
    length = q.shape[1]
    ends = sorted({length * part // BLOCKS for part in range(1, BLOCKS + 1)}) if length >= _SHORT else [length]
    starts = [0, *ends[:-1]]
    parts = [
        attend(q[:, start:end], k[..., :end], v[:, :, :end], visible[:, start:end, :end], config)
        for start, end in zip(starts, ends, strict=True)
    ]
    return jnp.concatenate(parts, axis=1)


@functools.partial(jax.checkpoint, static_argnums=0)
def _gated(activation: str, gate: Array, up: Array) -> Array:
    """What the MLP's last product reads."""
    gate = gate.astype(jnp.float32)  # a CPU would round to bfloat16 after every operation
    return ((jax.nn.silu(gate) if activation == "silu" else jax.nn.gelu(gate, approximate=True)) * up).astype(up.dtype)


class MLP(_Block):
    """Gated MLP. Sites: ``mlp_in`` feeds gate and up, ``mlp_out_in`` feeds down."""

    @nn.compact
    def __call__(self, x: Array, inputs: dict[str, Any]) -> Array:
        c = self.config
        self.record("mlp_in", x, inputs["weights"])
        gate = Linear(c.intermediate_size, c.mlp_bias, self.products, name="gate_proj")(x, inputs["personas"])
        up = Linear(c.intermediate_size, c.mlp_bias, self.products, name="up_proj")(x, inputs["personas"])
        inner = _gated(c.activation, gate, up)
        self.record("mlp_out_in", inner, inputs["weights"])
        return Linear(c.hidden_size, c.mlp_bias, self.products, name="down_proj")(inner, inputs["personas"])


class Layer(_Block):
    """One decoder layer, number ``layer``; ``is_sliding`` (a scalar bool array) chooses window and rope where layers differ.

    Site: ``layer_out``, the residual stream after the layer.
    """

    @nn.compact
    def __call__(self, x: Array, layer: Array, is_sliding: Array, inputs: dict[str, Any]) -> tuple[Array, None]:
        c, inputs = self.config, {**inputs, "layer": layer}
        if c.sliding_window is not None:
            inputs = {**inputs, "visible": jnp.where(is_sliding, inputs["visible_local"], inputs["visible"])}
        if c.local_rope is not None:
            rope = jax.tree.map(lambda local, full: jnp.where(is_sliding, local, full), inputs["rope_local"], inputs["rope"])
            inputs = {**inputs, "rope": rope}

        def norm(name: str) -> RMSNorm:
            return RMSNorm(c.norm_eps, 1.0 if c.gemma_norms else 0.0, name=name)

        attention, mlp = (
            block(c, self.collect, self.sites, self.products, name=name)
            for block, name in ((Attention, "self_attn"), (MLP, "mlp"))
        )
        update = attention(norm("input_layernorm")(x), inputs)
        if c.gemma_norms:
            x = x + norm("post_attention_layernorm")(update)
            x = x + norm("post_feedforward_layernorm")(mlp(norm("pre_feedforward_layernorm")(x), inputs))
        else:
            x = x + update
            x = x + mlp(norm("post_attention_layernorm")(x), inputs)
        self.record("layer_out", x, inputs["weights"])
        return x, None


class Decoder(nn.Module):
    """Embedding, layers, final norm, head. Computes in ``dtype``, by default that of the embedding (float32 where it is compact).

    ``products`` is the dtype of what is multiplied with a kernel, by default the narrower of those of both.
    ``collect`` says what is kept of the activations at ``sites``: those of ``sites.py``, and ``layer_out``.
    """

    config: ModelConfig
    collect: Collect | None = None
    sites: tuple[str, ...] = tuple(SITES)
    dtype: Any = None
    products: Any = None

    def setup(self) -> None:
        c = self.config
        self.embed_tokens = nn.Embed(c.vocab_size, c.hidden_size)
        self.layers = nn.scan(  # over as many layers as there are flags, and parameters
            Layer,
            variable_axes={"params": 0, "masks": 0, "stats": 0, "probes": 0},
            variable_carry="cache",
            split_rngs={"params": True},
            in_axes=(0, 0, nn.broadcast),
        )(c, self.collect, self.sites, self.products)
        self.norm = RMSNorm(c.norm_eps, 1.0 if c.gemma_norms else 0.0)
        if not c.tied_embeddings:
            self.lm_head = Linear(c.vocab_size, products=self.products)

    def __call__(self, tokens: Array, **inputs: Any) -> Array:
        """Logits [B, T, vocab] in float32; arguments as for ``hidden``."""
        return self.logits(self.hidden(tokens, **inputs), inputs.get("personas"))

    def hidden(self, tokens: Array, **inputs: Any) -> Array:
        """Final hidden states [B, T, hidden] of tokens int [B, T]; ``inputs`` as for ``layer_inputs``."""
        x = self.embed(tokens)
        return self.normed(self.through(x, self.config.is_sliding, **inputs))

    def embed(self, tokens: Array) -> Array:
        """What the first layer reads, [B, T, hidden]."""
        x = bfloat16_bits.widen(self.embed_tokens(tokens))
        x = x.astype(self.dtype or x.dtype)
        return x * jnp.asarray(self.config.hidden_size**0.5, x.dtype) if self.config.gemma_norms else x

    def through(self, x: Array, is_sliding: Any, **inputs: Any) -> Array:
        """The residual stream [B, T, hidden] after the layers whose parameters and flags are given, one layer or all.

        Args:
          x: the residual stream before them.
          is_sliding: bool [layer], their part of ``config.is_sliding``.
          inputs: as for ``layer_inputs``.
        """
        flags = jnp.asarray(is_sliding)
        return self.layers(x, jnp.arange(len(flags)), flags, layer_inputs(self.config, x, **inputs))[0]

    def normed(self, x: Array) -> Array:
        """What the head reads, from the residual stream after the last layer."""
        return self.norm(x)

    def logits(self, hidden: Array, personas: Personas | None = None) -> Array:
        """Next-token logits in float32 from final hidden states [B, ..., hidden]."""
        c = self.config
        if c.tied_embeddings:  # not rounded to the dtype of hidden, as ``nn.Embed.attend`` would
            embedding = self.embed_tokens.embedding
            scores = (
                bfloat16_bits.logits(hidden, embedding)
                if bfloat16_bits.is_compact(embedding)
                else matmul(hidden, embedding.T, self.products)
            )
        else:
            scores = self.lm_head(hidden, personas).astype(jnp.float32)
        return softcap(scores, c.logit_softcap)


def layer_inputs(
    config: ModelConfig,
    x: Array,
    positions: Array | None = None,
    visible: Array | None = None,
    weights: Array | None = None,
    personas: Personas | None = None,
) -> dict[str, Any]:
    """What every layer reads besides the residual stream x [B, T, hidden].

    Args:
      positions: int [B, T], default 0, 1, ...; with a ``cache`` collection also the slots that are written.
      visible: bool [B, T, S], which keys a query may attend to (without a cache S = T, and never later ones), default causal.
        In sliding-window layers the window, counted in positions, applies on top.
      weights: float [P, B, T], weight of each token in the statistics of P personas; needs ``mutable=["stats"]``.
      personas: of each sequence, with a ``masks`` collection of packed words.
    """
    c, length = config, x.shape[1]
    if positions is None:
        positions = jnp.broadcast_to(jnp.arange(length), x.shape[:2])
    if visible is None:
        visible = positions[:, :, None] >= positions[:, None, :]
    inputs: dict[str, Any] = {"positions": positions, "visible": visible, "weights": weights, "personas": personas}
    inputs["rope"] = rope_tables(c.rope, c.head_dim, positions)
    if c.local_rope is not None:
        inputs["rope_local"] = rope_tables(c.local_rope, c.head_dim, positions)
    if c.sliding_window is not None:
        # Without a cache the keys are the queries; in a cache the slot is the position.
        keys = positions if visible.shape[2] == length else jnp.arange(visible.shape[2])[None]
        inputs["visible_local"] = visible & (positions[:, :, None] - keys[:, None, :] < c.sliding_window)
    return inputs


def by_site(state: Any) -> dict[str, Any]:
    """What a decoder put into its ``stats`` collection, by site."""
    layers = state["stats"]["layers"] if "stats" in state else {}
    parts = (layers, layers.get("self_attn", {}), layers.get("mlp", {}))
    return {site: part[site] for part in parts for site in (*SITES, "layer_out") if site in part}


@functools.cache
def parameter_shapes(config: ModelConfig) -> dict[str, Any]:
    """The decoder's parameter tree with a ``jax.ShapeDtypeStruct`` at every leaf; nothing is allocated."""
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return jax.eval_shape(Decoder(config).init, jax.random.key(0), tokens)["params"]


def compute_dtype(params: Mapping[str, Any]) -> Any:
    """The dtype in which the decoder computes with these parameters, whatever form their matrices have."""
    return params["norm"]["scale"].dtype
