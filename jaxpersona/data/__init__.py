"""Persona pairs, from files or built in, and how they become token batches."""
