"""From pairs to masks."""
