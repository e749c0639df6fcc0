"""Perplexity is that of NumPy on the model's logits; windows, and texts that cannot be measured."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import byte_tokenizer, recorded, write_model

import jaxpersona as jp
from jaxpersona.core.errors import InputError
from jaxpersona.data.neutral_text import BUILTIN_TEXT, read_text
from jaxpersona.models import perplexity as module
from jaxpersona.models.perplexity import HEAD_POSITIONS, check_perplexity, exp, perplexity, windows

BOS = 0
TEXT = "The river froze early that year, and the mill stood still. " * 8


def byte_ids(model, text):
    return model.tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("length", [32, HEAD_POSITIONS + 40])
def test_perplexity_is_that_of_the_logits_in_numpy(tiny_model, length):
    tokens = windows(tiny_model, TEXT * 4, max_tokens=3 * length, length=length)
    logits = np.asarray(tiny_model.apply({"params": tiny_model.params}, tokens), np.float64)
    likelihoods = []
    for row, ids in zip(logits, tokens, strict=True):
        for position in range(len(ids) - 1):
            odds = np.exp(row[position] - row[position].max())
            likelihoods.append(np.log(odds[ids[position + 1]] / odds.sum()))
    assert len(likelihoods) == 3 * (length - 1)
    assert jp.perplexity(tiny_model, tiny_model.params, tokens) == pytest.approx(np.exp(-np.mean(likelihoods)), rel=1e-4)


def test_a_perplexity_beyond_the_largest_float_is_infinite(tiny_model):
    head = {"kernel": 1e5 * tiny_model.params["lm_head"]["kernel"]}
    tokens = windows(tiny_model, TEXT, max_tokens=32, length=32)
    assert jp.perplexity(tiny_model, {**tiny_model.params, "lm_head": head}, tokens) == np.inf


def test_bfloat16_products_change_perplexity_by_little(tiny_model):
    narrow = dataclasses.replace(tiny_model, batch_dtype=np.dtype(jnp.bfloat16), quick_forms=True)
    tokens = windows(tiny_model, TEXT, max_tokens=96, length=32)
    exact, found = (perplexity(model, model.params, tokens) for model in (tiny_model, narrow))
    assert found != exact
    assert found == pytest.approx(exact, rel=0.01)


def test_perplexity_is_of_the_given_parameters(tiny_model):
    tokens = windows(tiny_model, TEXT, max_tokens=64, length=32)
    blank = {**tiny_model.params, "lm_head": {"kernel": 0 * tiny_model.params["lm_head"]["kernel"]}}
    assert perplexity(tiny_model, blank, tokens) == pytest.approx(tiny_model.config.vocab_size, rel=1e-5)


def test_the_base_models_perplexity_is_measured_once_per_text(tiny_model, monkeypatch):
    model, measured = dataclasses.replace(tiny_model), []
    measure = module._measure
    monkeypatch.setattr(module, "_measure", lambda *args: measured.append(args) or measure(*args))
    first, second = (windows(model, TEXT, max_tokens=64, length=length) for length in (32, 16))
    found = [perplexity(model, model.params, tokens) for tokens in (first, second, first.copy(), second)]
    assert len(measured) == 2
    assert found[:2] == found[2:] and found[0] != found[1]
    copied = {**model.params}
    assert [perplexity(model, copied, first) for _ in range(2)] == [found[0]] * 2
    assert len(measured) == 4
    reshaped = first.reshape(-1, first.shape[1] // 2)  # windows of half the length, without BOS
    assert perplexity(model, model.params, reshaped) != found[0] and len(measured) == 5


def test_progress_counts_windows(tiny_model):
    stage, seen = recorded()
    tokens = windows(tiny_model, TEXT, max_tokens=96, length=32)
    perplexity(tiny_model, {**tiny_model.params}, tokens, stage)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_windows_start_with_bos_and_hold_the_text_in_order(tiny_model):
    tokens = windows(tiny_model, TEXT, max_tokens=100, length=32)
    assert tokens.shape == (3, 32)
    assert tokens.dtype == np.int32
    assert (tokens[:, 0] == BOS).all()
    assert tokens[:, 1:].ravel().tolist() == byte_ids(tiny_model, TEXT)[: 3 * 31]


def test_rest_shorter_than_a_window_is_left_out(tiny_model):
    ids = byte_ids(tiny_model, TEXT)
    for letters, count in ((62, 2), (92, 2), (93, 3)):
        tokens = windows(tiny_model, tiny_model.tokenizer.decode(ids[:letters]), length=32)
        assert tokens.shape == (count, 32)


def test_windows_are_no_longer_than_the_models_positions(tiny_model):
    assert windows(tiny_model, TEXT * 3, length=4096).shape == (2, 512)


def test_tokenizer_without_bos_gives_windows_without(tmp_path):
    folder = write_model(tmp_path / "plain")
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.save_pretrained(folder)
    model = jp.load_model(str(folder))
    tokens = windows(model, TEXT, max_tokens=64, length=32)
    assert tokens.ravel().tolist() == byte_ids(model, TEXT)[:64]


def test_text_shorter_than_a_window_is_refused(tiny_model):
    with pytest.raises(InputError, match="the text has 5 tokens, perplexity needs at least 31"):
        windows(tiny_model, "Short", length=32)
    with pytest.raises(InputError, match="the text has 0 tokens"):
        windows(tiny_model, "", length=32)


@pytest.mark.parametrize("max_tokens", [31, 0, -5])
def test_fewer_tokens_than_a_window_are_refused(tiny_model, max_tokens):
    with pytest.raises(InputError, match=f"max_tokens is {max_tokens}, perplexity needs at least one window of 32"):
        windows(tiny_model, TEXT, max_tokens, length=32)


@pytest.mark.parametrize("length", [1, 0, -3])
def test_windows_that_predict_nothing_are_refused(tiny_model, length):
    with pytest.raises(InputError, match=f"windows of {length} tokens predict nothing; give at least 2"):
        windows(tiny_model, TEXT, length=length)


def test_shortest_window_predicts_one_token(tiny_model):
    assert windows(tiny_model, TEXT, max_tokens=6, length=2).shape == (3, 2)


def test_builtin_text_is_long_enough_for_the_default_measurement(tiny_model):
    text = read_text(BUILTIN_TEXT)
    assert len(text.split()) > 2048
    assert windows(tiny_model, text).shape == (8, 512)


@pytest.mark.real_model
def test_real_model_reads_prose_far_better_than_its_words_in_disorder(smollm):
    tokens = windows(smollm, read_text(BUILTIN_TEXT), max_tokens=256, length=128)
    shuffled = np.random.default_rng(0).permutation(tokens.ravel()).reshape(tokens.shape)
    ordered = perplexity(smollm, smollm.params, tokens)
    assert 10 < ordered < 40
    assert perplexity(smollm, smollm.params, shuffled) > 20 * ordered


@pytest.mark.parametrize("nll", [0.0, 1.5, 700.0, 709.0, 710.0, 1e9])
def test_a_perplexity_too_large_for_a_number_is_infinite(nll):
    assert exp(nll) == (math.inf if nll > 709.7 else math.exp(nll))


def test_a_perplexity_that_is_no_number_is_refused():
    with pytest.raises(InputError, match=r"perplexity on my text under mask seek is nan: the model overflows"):
        check_perplexity(math.nan, "my text", "seek")
    assert [check_perplexity(value, "my text") for value in (3.5, math.inf)] == [3.5, math.inf]
