"""Foundations of every other folder: errors, files, processes, meshes, checkpoints. Nothing here depends on a model."""
