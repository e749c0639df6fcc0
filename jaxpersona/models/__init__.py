"""One decoder for the whole Llama family: configuration, parameters, tokenizer."""
