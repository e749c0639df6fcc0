"""Finds masks from pairs, and plans the memory and disk that this takes."""
