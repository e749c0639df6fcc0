"""Renders results for readers: terminal tables, figures, and a run's HTML page."""
