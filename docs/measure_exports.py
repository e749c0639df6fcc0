"""Measures the separation of a run's masks as other programs see it, for the tables of docs/exports.md.

python docs/measure_exports.py lora runs/quickstart
python docs/measure_exports.py llama runs/quickstart "models/{persona}-q8_0/model-q8_0.gguf"  # needs llama-cpp-python
python docs/measure_exports.py control runs/steering models/none/model-f16.gguf "models/{persona}-cv/control_vector.gguf"
# with torch and peft
python docs/measure_exports.py shira runs/quickstart models/none "models/{persona}-shira" "models/{persona}" bfloat16 float32
"""

import ctypes
import sys
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from transformers import PreTrainedTokenizerBase

import jaxpersona as jp
from jaxpersona.commands.masks_on_disk import of_run
from jaxpersona.core.tree import flatten, unflatten
from jaxpersona.data.neutral_text import read_text
from jaxpersona.data.text import TokenizedPair, tokenize_pair
from jaxpersona.evaluation.answers import score_answers
from jaxpersona.evaluation.choices import Choices, preferred, separation_row
from jaxpersona.exporters.lora import low_rank
from jaxpersona.masks.masks import Masks
from jaxpersona.models.model import Model
from jaxpersona.models.model_files import open_files
from jaxpersona.models.perplexity import perplexity, windows
from jaxpersona.models.sites import kernels

PAIRS, RANKS = 60, (16, 64, 192)


def held_out(run: str, tokenizer: PreTrainedTokenizerBase) -> list[TokenizedPair]:
    """Returns the tokenized pairs that discover evaluated the run on."""
    on_disk = of_run(run)
    pairs, _ = on_disk.held_out(None, None, PAIRS, 42)
    return [tokenize_pair(tokenizer, pair, on_disk.text, 512) for pair in pairs]


def report(name: str, margins: Sequence[np.ndarray], more: str = "") -> None:
    """Prints accuracies under both masks, and the separation."""
    choices = [Choices(preferred(margin), margin) for margin in margins]
    row = separation_row(*choices)
    accuracy = " / ".join(f"{100 * choice.correct.mean():.1f} %" for choice in choices)
    low, high = (100 * end for end in row["ci95"])
    print(f"{name}: {accuracy}, separation {100 * row['separation']:.1f} ({low:.1f} to {high:.1f}) {more}", flush=True)


def measure_lora(run: str) -> None:
    """Prints the separation of low-rank approximations of both masks, of the masks themselves, and their perplexity."""
    model = jp.load_model(of_run(run).model, "float32")
    pairs, tokens = held_out(run, model.tokenizer), windows(model, read_text("builtin:neutral"), 1024)
    base, found = perplexity(model, model.params, tokens), {}
    for persona in ("seek", "reject"):
        masks = jp.load_masks(f"{run}/masks/{persona}", model)
        assert isinstance(masks, Masks)
        masked = jp.apply_mask(model.params, masks)
        found[persona, "exact"] = measured(model, masked, pairs, tokens, base)
        factors = {path: factorised(kernel, kernels(masked)[path]) for path, kernel in kernels(model.params).items()}
        for rank in RANKS:
            approximated = {path: model_kernel(kernels(model.params)[path], *parts, rank) for path, parts in factors.items()}
            params = unflatten({**flatten(model.params), **approximated})
            found[persona, rank] = measured(model, params, pairs, tokens, base)
    for case in ("exact", *RANKS):
        both = [found[persona, case] for persona in ("seek", "reject")]
        report(f"rank {case}", [margin for margin, _ in both], f"perplexity {' / '.join(f'{100 * up:+.1f} %' for _, up in both)}")


def factorised(kernel: jax.Array, masked: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns the factors [layer, in, rank] and [layer, rank, out] of a kernel's change, at the highest rank."""
    parts = [low_rank(np.asarray(delta), max(RANKS)) for delta in np.asarray(masked - kernel)]
    return np.stack([left for left, _ in parts]), np.stack([right for _, right in parts])


def model_kernel(kernel: jax.Array, left: np.ndarray, right: np.ndarray, rank: int) -> jax.Array:
    """Returns a kernel with the change of a LoRA of ``rank``."""
    return kernel + jnp.asarray(left[..., :rank]) @ jnp.asarray(right[:, :rank])


def measured(model: Model, params, pairs: list[TokenizedPair], tokens: np.ndarray, base: float) -> tuple[np.ndarray, float]:
    """Returns the margin of every pair, in nats, and the relative increase of perplexity."""
    scores = score_answers(model, params, pairs).log_prob
    return scores[:, 0] - scores[:, 1], perplexity(model, params, tokens) / base - 1


def in_llama_cpp(path: str, pairs: list[TokenizedPair], prepare: Callable = lambda llama: None) -> np.ndarray:
    """Returns the margin of every pair, in nats, as llama.cpp computes it from a GGUF file."""
    from llama_cpp import Llama

    llama = Llama(path, n_ctx=1024, logits_all=True, verbose=False, n_threads=1, n_threads_batch=1)
    prepare(llama)

    def log_prob(pair: TokenizedPair, answer: tuple[int, ...]) -> float:
        llama.n_tokens = len(pair.prefix)  # goes back to the end of the prefix, which both answers share
        llama.eval(answer)
        tokens = np.array([*pair.prefix, *answer])
        places = np.arange(pair.answer_start, len(tokens))
        return float(
            scipy.special.log_softmax(llama.scores[places - 1], axis=1)[places - pair.answer_start, tokens[places]].sum()
        )

    def margin(pair: TokenizedPair) -> float:
        llama.reset()
        llama.eval(pair.prefix)
        return log_prob(pair, pair.matching) - log_prob(pair, pair.not_matching)

    return np.array([margin(pair) for pair in pairs])


def measure_llama(run: str, *patterns: str) -> None:
    """Prints the separation of GGUF files."""
    on_disk = of_run(run)
    pairs = held_out(run, open_files(on_disk.model, on_disk.template).tokenizer)
    for pattern in patterns:
        report(pattern, [in_llama_cpp(pattern.format(persona=persona), pairs) for persona in ("seek", "reject")])


def measure_control(run: str, base: str, pattern: str) -> None:
    """Prints the separation of control vectors that llama.cpp adds to the base model."""
    import gguf
    import llama_cpp

    model = jp.load_model(of_run(run).model, "float32")
    pairs, ours, margins = held_out(run, model.tokenizer), [], []
    for persona in ("seek", "reject"):
        params = jp.apply_mask(model.params, jp.load_masks(f"{run}/masks/{persona}", model))
        scores = score_answers(model, params, pairs).log_prob
        ours.append(scores[:, 0] - scores[:, 1])
        vectors = np.zeros((model.config.num_layers - 1, model.config.hidden_size), np.float32)
        for tensor in gguf.GGUFReader(pattern.format(persona=persona)).tensors:
            vectors[int(tensor.name.split(".")[1]) - 1] = tensor.data  # llama.cpp's buffer begins with layer 1

        def steer(llama, vectors: np.ndarray = vectors) -> None:
            data = vectors.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            layers, hidden = vectors.shape
            status = llama_cpp.llama_set_adapter_cvec(llama.ctx, data, vectors.size, hidden, 1, layers)
            assert status == 0, status

        margins.append(in_llama_cpp(base, pairs, steer))
    report("here, float32", ours)
    apart = max(float(np.abs(found - expected).max()) for found, expected in zip(margins, ours, strict=True))
    report("control vectors", margins, f"margins differ by at most {apart:.2f} nats")


def measure_shira(run: str, base: str, adapter: str, masked: str, *dtypes: str) -> None:
    """Prints the separation of SHiRA adapters in PyTorch, and how far their logits are from those of the masked folders."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def load(folder: str, dtype: torch.dtype):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False).eval()

    def merged(persona: str, dtype: torch.dtype):  # else PEFT adds the sparse values anew in every pass
        folder = adapter.format(persona=persona)
        return PeftModel.from_pretrained(load(base, dtype), folder, trust_remote_code=False).merge_and_unload()

    on_disk = of_run(run)
    pairs = held_out(run, open_files(on_disk.model, on_disk.template).tokenizer)
    for dtype in (getattr(torch, name) for name in dtypes):
        margins, apart, rounded = {"adapter": [], "folder": []}, 0.0, []
        for persona in ("seek", "reject"):
            networks = {"adapter": merged(persona, dtype), "folder": load(masked.format(persona=persona), dtype)}
            rounded += same_weights(merged(persona, torch.float32).to(dtype), networks["folder"])
            found = {name: [] for name in networks}
            for pair in pairs:
                logits = {name: answer_logits(network, pair) for name, network in networks.items()}
                apart = max(apart, *(np.abs(one - other).max() for one, other in zip(*logits.values(), strict=True)))
                for name, answers in logits.items():
                    found[name].append(margin_of(pair, answers))
            for name, margin in found.items():
                margins[name].append(np.array(margin))
        between = float(np.abs(np.subtract(margins["adapter"], margins["folder"])).max())
        for name, both in margins.items():
            report(f"{name}, {dtype}", both)
        print(f"  logits differ by at most {apart:.4f}, margins by {between:.4f} nats; weights of the folder, if merged in")
        print(f"  float32 and then rounded: {all(rounded)}", flush=True)


def same_weights(network, other) -> list[bool]:
    """Returns, parameter by parameter, whether two PyTorch models are equal."""
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    return [bool((one == another).all()) for one, another in pairs]


def answer_logits(network, pair: TokenizedPair) -> list[np.ndarray]:
    """Returns the logits [token, vocabulary] that a PyTorch model gives each answer of a pair, matching first."""
    import torch

    texts = [[*pair.prefix, *answer] for answer in (pair.matching, pair.not_matching)]
    longest = max(map(len, texts))
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([text + [0] * (longest - len(text)) for text in texts])).logits.float().numpy()
    return [found[pair.answer_start - 1 : len(text) - 1] for found, text in zip(logits, texts, strict=True)]


def margin_of(pair: TokenizedPair, logits: Sequence[np.ndarray]) -> float:
    """Returns the margin of a pair, in nats, from its answers' logits."""
    total = []
    for answer, found in zip((pair.matching, pair.not_matching), logits, strict=True):
        ids = np.array([*pair.prefix, *answer])[pair.answer_start :]
        total.append(scipy.special.log_softmax(found, axis=1)[np.arange(len(ids)), ids].sum())
    return float(total[0] - total[1])


if __name__ == "__main__":
    {"lora": measure_lora, "llama": measure_llama, "control": measure_control, "shira": measure_shira}[sys.argv[1]](*sys.argv[2:])
