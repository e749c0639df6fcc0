"""What everything else stands on: errors, files, processes, meshes, checkpoints. Knows no model."""
