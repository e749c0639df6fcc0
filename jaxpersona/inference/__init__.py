"""Generates text under personas: one-off generation, conversations, and continuous batching."""
