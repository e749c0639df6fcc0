"""Text from a model under a persona: sampling and the KV-cached decoding loop."""
