"""Log-probabilities of tokens, in the two shapes that OpenAI's API has."""

import codecs
from collections.abc import Sequence
from typing import Any

from jaxpersona.inference.token_scores import TokenScore
from jaxpersona.serving.token_texts import TokenTexts


def chat_log_probs(texts: TokenTexts, scores: Sequence[TokenScore]) -> dict[str, Any]:
    """Returns ``logprobs`` of a chat's choice."""

    def entry(token: int, log_prob: float) -> dict[str, Any]:
        return {"token": texts.text(token), "logprob": log_prob, "bytes": list(texts.raw(token))}

    tops = [[entry(*pair) for pair in score.alternatives] for score in scores]
    content = [{**entry(score.token, score.log_prob), "top_logprobs": top} for score, top in zip(scores, tops, strict=True)]
    return {"content": content, "refusal": None}


def text_log_probs(
    texts: TokenTexts, tokens: Sequence[int], scores: Sequence[TokenScore | None], offsets: Sequence[int]
) -> dict[str, Any]:
    """Returns ``logprobs`` of a text completion's choice.

    Args:
      tokens: the tokens.
      scores: their log-probabilities; None for the first token of a prompt, which nothing predicts.
      offsets: where each token begins in the text, in characters.
    """

    def alternatives(score: TokenScore) -> dict[str, float]:
        named = {texts.text(token): log_prob for token, log_prob in reversed(score.alternatives)}
        return {**dict(reversed(named.items())), texts.text(score.token): score.log_prob}

    return {
        "tokens": [texts.text(token) for token in tokens],
        "token_logprobs": [None if score is None else score.log_prob for score in scores],
        "top_logprobs": [None if score is None else alternatives(score) for score in scores],
        "text_offset": list(offsets),
    }


def offsets_of(
    texts: TokenTexts, tokens: Sequence[int], start: int, hidden: Sequence[bool], spaced: bool = True
) -> tuple[list[int], int]:
    """Returns where each token begins in the text, in characters, and where the text ends.

    Args:
      tokens: the tokens.
      start: where the first one begins.
      hidden: for each token, whether the text leaves it out.
      spaced: whether the text shows the space that its first token may begin with; SentencePiece puts one before every text.
    """
    decoder, offsets = codecs.getincrementaldecoder("utf-8")("replace"), []
    for token, left_out in zip(tokens, hidden, strict=True):
        offsets.append(start)
        piece = "" if left_out else decoder.decode(texts.raw(token))
        start += len(piece if spaced else piece.removeprefix(" "))
        spaced = spaced or piece != ""
    return offsets, start
