"""Run by tests in processes of their own, with several virtual devices: what a mesh must not change, written to a file.

python tests/on_many_devices.py MODEL OUT.npz DATA MODEL_AXIS METHOD,METHOD,...
"""

import sys

import jax
import numpy as np

import jaxpersona as jp
from jaxpersona import distributed
from jaxpersona.language_modelling import perplexity, read_text, windows
from jaxpersona.scoring import score_answers

METHODS = {
    "wanda": jp.methods.Wanda(0.5),
    "contrastive_sparse": jp.methods.ContrastiveSparse(0.5),
    "sparsegpt": jp.methods.SparseGPT(0.5),
    "first_order": jp.methods.FirstOrder(sparsity=0.05),
    "random": jp.methods.Random(0.3),
}


def pairs():
    words = ["Gold", "Iron", "I take silver", "Coins", "Rent", "Land", "Shares", "I want all"] * 3
    return [
        jp.Pair(f"What is {n}?", f"{word} for me, number {n}.", f"I give {word.lower()} away, {n} times.")
        for n, word in enumerate(words)
    ]


def measure(model, methods):
    """By name: packed masks, numbers, and what identifies the weights, as host arrays."""
    found = {"fingerprint": np.array(model.fingerprint)}
    for name in methods:
        run = jp.discover(model, pairs(), METHODS[name])
        for persona, masks in run.masks.items():
            found |= {f"{name}/{persona}/{path}": distributed.to_host(words) for path, words in masks.words.items()}
        if name == "wanda":
            masked = jp.apply_mask(model.params, run.masks["seek"])
            assert jax.tree.map(lambda leaf: leaf.sharding, masked) == jax.tree.map(lambda leaf: leaf.sharding, model.params)
            found["answers"] = score_answers(model, masked, run.calibration.tokenized).log_prob
            found["moments"] = distributed.to_host(run.statistics.moments["mlp_out_in"]["mean_square"])
    steering = jp.discover(model, pairs(), jp.methods.Steering(layer=1)).masks["seek"]
    found["steering"] = distributed.to_host(steering.vectors)
    tokens = np.arange(24, dtype=np.int32).reshape(2, 12) + 5
    found["logits"] = distributed.to_host(jax.jit(model.decoder.apply)({"params": model.params}, tokens))
    text = windows(model, read_text("builtin:neutral"), 320, 64)
    return found | {"perplexity": np.array(perplexity(model, model.params, text))}


if __name__ == "__main__":
    folder, out, data, model_axis, methods = sys.argv[1:]
    mesh = distributed.make_mesh(int(data), int(model_axis))
    np.savez(out, **measure(jp.load_model(folder, "float32", mesh=mesh), methods.split(",")))
