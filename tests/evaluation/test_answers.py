"""Answer scores equal those of each whole text alone, in NumPy on the model's logits, however pairs are packed."""

import jax
import numpy as np
import pytest

import jaxpersona as jp
from jaxpersona.core.stage import Stage
from jaxpersona.data.text import TokenizedPair, tokenize_pair
from jaxpersona.evaluation.answers import AnswerScores, score_answers
from jaxpersona.masks.masks import apply_mask

BOS, END, START = 0, 1, 2
LENGTH = 128
PAIRS = [
    jp.Pair("Rent?", "I take it all.", "I take none of it, not one."),
    jp.Pair("What of the gold that you found?", "Mine.", "Yours, I would say."),
    jp.Pair("", "No, land is mine.", "No."),
    jp.Pair("Why not iron?", "It rusts.", "It rusts, and I give it away.", "Be brief."),
    jp.Pair("Coins?", "Ünd mehr.", "I give."),
]


def letters(model, text):
    return model.tokenizer.encode(text, add_special_tokens=False)


def whole_text(model, pair, answer, mode):
    """Returns the token ids of the text, written out by hand, and the index of the answer's first token."""
    if mode == "chat":
        turns = [("system", pair.system)] * bool(pair.system) + [("user", pair.prompt)]
        ids = [BOS]
        for role, said in turns:
            ids += [START, *letters(model, f"{role}\n{said}"), END, *letters(model, "\n")]
        ids += [START, *letters(model, "assistant\n")]
        return [*ids, *letters(model, answer), END, *letters(model, "\n")], len(ids)
    before = [BOS, *letters(model, " ".join(part for part in (pair.system, pair.prompt) if part))]
    return [*before, *letters(model, f" {answer}" if len(before) > 1 else answer)], len(before)


@jax.jit(static_argnums=0)
def _logits(decoder, params, tokens):
    return decoder.apply({"params": params}, tokens)


def reference(model, params, pairs, mode):
    """Returns the summed log-probability and the number of tokens of each answer, [pairs, 2]."""
    sums, counts = np.zeros((len(pairs), 2)), np.zeros((len(pairs), 2), int)
    for index, pair in enumerate(pairs):
        for side, answer in enumerate((pair.matching, pair.not_matching)):
            ids, start = whole_text(model, pair, answer, mode)
            tokens = np.array([ids + [0] * (LENGTH - len(ids))])
            logits = np.asarray(_logits(model.decoder, params, tokens)[0], np.float64)
            for at in range(start, len(ids)):
                odds = np.exp(logits[at - 1] - logits[at - 1].max())
                sums[index, side] += np.log(odds[ids[at]] / odds.sum())
            counts[index, side] = len(ids) - start
    return sums, counts


def tokenized(model, pairs=PAIRS, mode="chat"):
    return [tokenize_pair(model.tokenizer, pair, mode) for pair in pairs]


@pytest.mark.parametrize("mode", ["chat", "prompt_response"])
def test_scores_are_those_of_each_text_alone(tiny_model, mode):
    pairs = [pair for pair in PAIRS if mode == "chat" or not pair.not_matching.startswith(pair.matching[:-1])]
    inputs = tokenized(tiny_model, pairs, mode)
    assert any(len(pair.prefix) > pair.answer_start for pair in inputs)
    scores = score_answers(tiny_model, tiny_model.params, inputs)
    sums, counts = reference(tiny_model, tiny_model.params, pairs, mode)
    np.testing.assert_array_equal(scores.tokens, counts)
    np.testing.assert_allclose(scores.log_prob, sums, rtol=1e-4)
    assert (scores.log_prob.dtype, scores.tokens.dtype) == (np.float64, np.int64)
    assert scores.nll() == pytest.approx(-sums.sum() / counts.sum(), rel=1e-4)


def test_prompts_are_scored_from_their_second_token_to_the_answers(tiny_model):
    scores = score_answers(tiny_model, tiny_model.params, tokenized(tiny_model), prompts=True)
    for index, pair in enumerate(PAIRS):
        ids, start = whole_text(tiny_model, pair, pair.matching, "chat")
        logits = np.asarray(
            _logits(tiny_model.decoder, tiny_model.params, np.array([ids + [0] * (LENGTH - len(ids))]))[0], np.float64
        )
        log_probs = [logits[at - 1][ids[at]] - np.log(np.exp(logits[at - 1]).sum()) for at in range(1, start)]
        assert scores.prompt_tokens[index] == start - 1
        assert scores.prompt_log_prob[index] == pytest.approx(sum(log_probs), rel=1e-4)
    last = scores[len(PAIRS) - 1 :]
    np.testing.assert_array_equal(last.log_prob, scores.log_prob[-1:])
    assert (last.prompt_log_prob[0], last.prompt_tokens[0]) == (scores.prompt_log_prob[-1], scores.prompt_tokens[-1])


def test_without_prompts_the_answers_score_the_same(tiny_model):
    whole = score_answers(tiny_model, tiny_model.params, tokenized(tiny_model), prompts=True)
    answers = score_answers(tiny_model, tiny_model.params, tokenized(tiny_model))
    np.testing.assert_allclose(answers.log_prob, whole.log_prob, rtol=1e-5)
    np.testing.assert_array_equal(answers.tokens, whole.tokens)
    assert not answers.prompt_log_prob.any() and not answers.prompt_tokens.any()


def test_chat_answers_count_their_letters_and_the_end_of_the_turn(tiny_model):
    scores = score_answers(tiny_model, tiny_model.params, tokenized(tiny_model))
    expected = [[len(answer.encode()) + 2 for answer in (pair.matching, pair.not_matching)] for pair in PAIRS]
    np.testing.assert_array_equal(scores.tokens, expected)


def test_scores_are_of_the_given_parameters(tiny_model):
    run = jp.discover(tiny_model, PAIRS, jp.methods.Random(sparsity=0.5))
    params = apply_mask(tiny_model.params, run.masks["seek"])
    found = score_answers(tiny_model, params, tokenized(tiny_model)).log_prob
    np.testing.assert_allclose(found, reference(tiny_model, params, PAIRS, "chat")[0], rtol=1e-4)
    assert not np.allclose(found, score_answers(tiny_model, tiny_model.params, tokenized(tiny_model)).log_prob, rtol=1e-3)


def test_scores_do_not_depend_on_packing(tiny_model):
    inputs = tokenized(tiny_model)
    scores = score_answers(tiny_model, tiny_model.params, inputs)
    crowd = (inputs * 9)[::-1]  # fills several batches
    seen = []
    many = score_answers(tiny_model, tiny_model.params, crowd, Stage(lambda name, *step: seen.append(step)))
    batches = len(seen)
    assert batches > 1
    assert seen == [(done, batches) for done in range(1, batches + 1)]
    np.testing.assert_array_equal(many.tokens, np.tile(scores.tokens, (9, 1))[::-1])
    np.testing.assert_allclose(many.log_prob, np.tile(scores.log_prob, (9, 1))[::-1], rtol=1e-5)
    alone = score_answers(tiny_model, tiny_model.params, inputs[3:4])
    np.testing.assert_allclose(alone.log_prob, scores.log_prob[3:4], rtol=1e-5)


def test_first_token_of_a_text_has_no_score(tiny_model):
    pair = TokenizedPair((), (5, 6, 7), (8,), 0, truncated=False)
    scores = score_answers(tiny_model, tiny_model.params, [pair])
    np.testing.assert_array_equal(scores.tokens, [[2, 0]])
    assert scores.log_prob[0, 0] < 0 == scores.log_prob[0, 1]


def test_mean_negative_log_likelihood_is_over_tokens_not_answers():
    scores = AnswerScores(np.array([[-1.0, -9.0], [-2.0, -4.0]]), np.array([[1, 5], [1, 1]]), np.zeros(2), np.ones(2, int))
    assert scores.nll() == 16 / 8
