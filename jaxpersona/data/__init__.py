"""Persona pairs, from files or built in, and their tokenization and packing into batches."""
