"""The decoder of the Llama family (Llama, Mistral, Qwen, Gemma, SmolLM) in Flax Linen.

State is data: ``params``, ``masks``, ``stats`` and ``cache`` are variable collections of the same structure. Kernels are stored
(in, out). Layers are stacked along a leading axis and run by ``nn.scan``, so compile time does not grow with depth. Module names
are Hugging Face's.

    logits = decoder.apply({"params": params}, tokens)
    logits = decoder.apply({"params": params, "masks": bools}, tokens)                 # removed weights count as 0
    logits = decoder.apply({"params": params, "masks": bank}, tokens, personas=Personas(ids))  # inference/mask_bank.py
    logits, state = decoder.apply({"params": params}, tokens, mutable=["stats"], ...)  # calibration/moments.py
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpersona.models.config import ModelConfig
from jaxpersona.models.cpu import bfloat16_bits
from jaxpersona.models.cpu.matmul import matmul, probed, transposed_matmul
from jaxpersona.models.rope import rope_tables, rotate
from jaxpersona.models.sites import SITES
from jaxpersona.ops.masked_matmul import masked_matmul

Array = jax.Array
QUERY_BLOCKS, _SHORT = 4, 64  # blocks of queries in ``attend_to_earlier``; shorter rows than this are one block
Collect = Callable[[Array, Array], Any]
"""Returns the statistics to keep of a linear layer's inputs [B, T, C], given token weights [P, B, T]."""


class Personas(NamedTuple):
    """The persona of each sequence in a batch.

    Attributes:
      ids: int32 [B], slots in the mask bank.
      gamma: float32 [B], share of its value that a removed weight keeps; None for 0.
    """

    ids: Array
    gamma: Array | None = None


def _banked(x: Array, kernel: Array, masks: Array, personas: Personas) -> Array:
    """Multiplies x [B, T, in] by the weights of each sequence's persona."""
    if bfloat16_bits.is_compact(kernel):
        return bfloat16_bits.masked_matmul(x, kernel, masks, personas.ids, personas.gamma)
    return masked_matmul(x, kernel.astype(x.dtype), masks, personas.ids, 0.0 if personas.gamma is None else personas.gamma)


class Linear(nn.Module):
    """Computes y = x W + b with W [in, out], masked if there is a ``masks`` collection.

    Masks are bool [in, out], or those of a mask bank (``inference/mask_bank.py``), which need ``personas``. There is a bias b if
    the architecture or the parameters have one: a steering vector is a bias (``masks/steering_vectors.py``). Wider operands are
    rounded to the dtype ``products`` before they are multiplied, by default to the narrower dtype of x and W.
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
        if self.has_variable("probes", "output"):  # collects the squared gradient at the output
            y = probed(y, self.get_variable("probes", "output"))
        if self.use_bias or self.has_variable("params", "bias"):
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
        return y


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32; ``offset`` is 1 for Gemma, whose weights are stored minus 1.

    There is a bias only if the parameters have one: a steering vector (``masks/steering_vectors.py``).
    """

    eps: float
    offset: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],)).astype(jnp.float32) + self.offset
        wide = x.astype(jnp.float32)
        y = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.eps) * scale
        if self.has_variable("params", "bias"):
            y = y + self.get_variable("params", "bias").astype(jnp.float32)
        return y.astype(x.dtype)


def softcap(x: Array, cap: float | None) -> Array:
    """Returns cap * tanh(x / cap), which lies in (-cap, cap) (Gemma 2); x if ``cap`` is None."""
    return x if cap is None else cap * jnp.tanh(x / cap)


class _Block(nn.Module):
    """Base class of attention, MLP and layer: collects statistics of activations at the ``sites`` in the ``stats`` collection."""

    config: ModelConfig
    collect: Collect | None = None
    sites: tuple[str, ...] = tuple(SITES)
    products: Any = None

    def record(self, site: str, x: Array, weights: Array | None) -> None:
        """Collects statistics of x [B, T, C], rounded to ``products`` as in the matrix product."""
        if site in self.sites and self.collect is not None and weights is not None and self.is_mutable_collection("stats"):
            self.put_variable("stats", site, self.collect(x.astype(self.products or x.dtype), weights))


class Attention(_Block):
    """Grouped-query attention. Sites: ``attn_in``, the input of q, k and v; ``attn_out_in``, the input of o."""

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
        """Writes the new entries [B, T, K, D] into the KV cache at their positions; returns all keys or values.

        Without a cache, returns the new ones. Keys are [B, K, D, S] and values [B, K, S, D], the layout that ``attend`` needs, so
        that no step transposes them. One cache of all layers is carried from layer to layer, because a cache per layer would be
        copied whole at every step.
        """
        if not self.has_variable("cache", name):
            return new.transpose(0, 2, 3, 1) if name == "k" else new.swapaxes(1, 2)
        rows, layer, cache = jnp.arange(new.shape[0])[:, None], inputs["layer"], self.get_variable("cache", name)
        heads = (slice(None), slice(None)) if name == "k" else (slice(None),)
        cache = cache.at[layer, rows, *heads, inputs["positions"]].set(new.astype(cache.dtype))
        self.put_variable("cache", name, cache)
        return cache[layer].astype(new.dtype)


def attend(q: Array, k: Array, v: Array, visible: Array, config: ModelConfig) -> Array:
    """Returns softmax attention [B, T, H * D], with scores in float32.

    Query heads that share a KV head are rows of one product. The sums over values are divided by the sum of the exponentials, not
    the exponentials themselves, as in FlashAttention (Dao et al., 2022). That saves a pass over the scores, which dominate the
    time on a CPU.

    Args:
      q: [B, T, H, D].
      k: [B, K, D, S].
      v: [B, K, S, D].
      visible: bool [B, T, S], the keys that a query attends to.
      config: of the model.
    """
    batch, length, heads, dim = q.shape
    kv_heads, keys = k.shape[1], k.shape[3]
    q = q.reshape(batch, length, kv_heads, heads // kv_heads, dim).transpose(0, 2, 3, 1, 4).reshape(batch, kv_heads, -1, dim)
    scores = jnp.einsum("bkrd,bkds->bkrs", q, k, preferred_element_type=jnp.float32) * config.query_scale
    scores = softcap(scores, config.attention_softcap).reshape(batch, kv_heads, -1, length, keys)
    # A finite minimum, so that rows without visible keys (padding) average instead of becoming NaN.
    scores = jnp.where(visible[:, None, None], scores, jnp.finfo(jnp.float32).min)
    exponentials = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    rows = exponentials.astype(v.dtype).reshape(batch, kv_heads, -1, keys)
    mixed = jnp.einsum("bkrs,bksd->bkrd", rows, v, preferred_element_type=jnp.float32)
    mixed = mixed.reshape(batch, kv_heads, -1, length, dim) / exponentials.sum(axis=-1)[..., None]
    return mixed.astype(v.dtype).transpose(0, 3, 1, 2, 4).reshape(batch, length, heads * dim)


@functools.partial(jax.checkpoint, static_argnums=4)
def attend_to_earlier(q: Array, k: Array, v: Array, visible: Array, config: ModelConfig) -> Array:
    """Returns ``attend`` for queries that attend to no later key, with as many keys as queries.

    Each block of queries is multiplied only by the keys up to the block's end, which skips most of the masked scores. A backward
    pass recomputes scores instead of keeping them.
    """
    length = q.shape[1]
    ends = sorted({length * part // QUERY_BLOCKS for part in range(1, QUERY_BLOCKS + 1)}) if length >= _SHORT else [length]
    starts = [0, *ends[:-1]]
    parts = [
        attend(q[:, start:end], k[..., :end], v[:, :, :end], visible[:, start:end, :end], config)
        for start, end in zip(starts, ends, strict=True)
    ]
    return jnp.concatenate(parts, axis=1)


@functools.partial(jax.checkpoint, static_argnums=0)
def _gated(activation: str, gate: Array, up: Array) -> Array:
    """Returns activation(gate) * up, the input of the MLP's last product."""
    gate = gate.astype(jnp.float32)  # in bfloat16, XLA on a CPU would round after every operation
    return ((jax.nn.silu(gate) if activation == "silu" else jax.nn.gelu(gate, approximate=True)) * up).astype(up.dtype)


class MLP(_Block):
    """Gated MLP. Sites: ``mlp_in``, the input of gate and up; ``mlp_out_in``, the input of down."""

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
    """Decoder layer number ``layer``. Site: ``layer_out``, the residual stream after the layer.

    ``is_sliding``, a scalar bool array, selects window and rope in models whose layers differ in them.
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


_RecomputedLayer = nn.remat(Layer, prevent_cse=False)


class Decoder(nn.Module):
    """Embedding, layers, final norm and head.

    Attributes:
      config: shape and variant of the model.
      collect: returns the statistics to keep of the activations at ``sites``; None keeps none.
      sites: names of ``sites.SITES``, or ``layer_out``.
      dtype: of the computation; None is that of the embedding, or float32 if it is compact.
      products: dtype to which wider operands of a product with a kernel are rounded; None is the narrower dtype of both.
      recompute: whether a backward pass keeps only the input of each layer and computes the rest again: a third more products, a
        tenth of the memory.
    """

    config: ModelConfig
    collect: Collect | None = None
    sites: tuple[str, ...] = tuple(SITES)
    dtype: Any = None
    products: Any = None
    recompute: bool = True

    def setup(self) -> None:
        c = self.config
        self.embed_tokens = nn.Embed(c.vocab_size, c.hidden_size)
        self.layers = nn.scan(  # over as many layers as there are flags and parameters
            _RecomputedLayer if self.recompute else Layer,
            variable_axes={"params": 0, "masks": 0, "stats": 0, "probes": 0},
            variable_carry="cache",
            split_rngs={"params": True},
            in_axes=(0, 0, nn.broadcast),
        )(c, self.collect, self.sites, self.products)
        self.norm = RMSNorm(c.norm_eps, 1.0 if c.gemma_norms else 0.0)
        if not c.tied_embeddings:
            self.lm_head = Linear(c.vocab_size, products=self.products)

    def __call__(self, tokens: Array, **inputs: Any) -> Array:
        """Returns logits float32 [B, T, vocab]; arguments as for ``hidden``."""
        return self.logits(self.hidden(tokens, **inputs), inputs.get("personas"))

    def hidden(self, tokens: Array, **inputs: Any) -> Array:
        """Returns final hidden states [B, T, hidden] of tokens int [B, T]; ``inputs`` as for ``layer_inputs``."""
        x = self.embed(tokens)
        return self.normed(self.through(x, self.config.is_sliding, **inputs))

    def embed(self, tokens: Array) -> Array:
        """Returns the embeddings of tokens int [B, T]: the input of the first layer, [B, T, hidden]."""
        x = bfloat16_bits.widen(self.embed_tokens(tokens))
        x = x.astype(self.dtype or x.dtype)
        return x * jnp.asarray(self.config.hidden_size**0.5, x.dtype) if self.config.gemma_norms else x

    def through(self, x: Array, is_sliding: Any, **inputs: Any) -> Array:
        """Runs the layers whose parameters and flags are given, one or all; returns the residual stream [B, T, hidden].

        Args:
          x: the residual stream before these layers, [B, T, hidden].
          is_sliding: bool [layer], the flags of these layers from ``config.is_sliding``.
          inputs: as for ``layer_inputs``.
        """
        flags = jnp.asarray(is_sliding)
        return self.layers(x, jnp.arange(len(flags)), flags, layer_inputs(self.config, x, **inputs))[0]

    def normed(self, x: Array) -> Array:
        """Returns the final hidden states, the head's input, from the residual stream after the last layer."""
        return self.norm(x)

    def logits(self, hidden: Array, personas: Personas | None = None) -> Array:
        """Returns next-token logits float32 [B, ..., vocab] from final hidden states [B, ..., hidden]."""
        c = self.config
        if c.tied_embeddings:  # ``nn.Embed.attend`` would round the logits to the dtype of hidden
            embedding = self.embed_tokens.embedding
            scores = (
                bfloat16_bits.logits(hidden, embedding)
                if bfloat16_bits.is_compact(embedding)
                else transposed_matmul(hidden, embedding, self.products)
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
    """Returns the inputs of every layer besides the residual stream.

    Args:
      config: of the model.
      x: the residual stream [B, T, hidden].
      positions: int [B, T]; None is 0, 1, .... With a ``cache`` collection, also the cache slots to write.
      visible: bool [B, T, S], the keys that a query may attend to; None is causal. Without a cache, S = T and later keys must not
        be visible. In sliding-window layers the window, counted in positions, applies as well.
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
        # Without a cache, keys have the queries' positions; in a cache, the slot is the position.
        keys = positions if visible.shape[2] == length else jnp.arange(visible.shape[2])[None]
        inputs["visible_local"] = visible & (positions[:, :, None] - keys[:, None, :] < c.sliding_window)
    return inputs


def by_site(state: Any) -> dict[str, Any]:
    """Returns the contents of a decoder's ``stats`` collection by site."""
    layers = state["stats"]["layers"] if "stats" in state else {}
    parts = (layers, layers.get("self_attn", {}), layers.get("mlp", {}))
    return {site: part[site] for part in parts for site in (*SITES, "layer_out") if site in part}


@functools.cache
def parameter_shapes(config: ModelConfig) -> dict[str, Any]:
    """Returns the decoder's parameter tree with ``jax.ShapeDtypeStruct`` leaves, without allocating arrays."""
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return jax.eval_shape(Decoder(config).init, jax.random.key(0), tokens)["params"]


def compute_dtype(params: Mapping[str, Any]) -> Any:
    """Returns the dtype in which the decoder computes with these parameters, in any form."""
    return params["norm"]["scale"].dtype
