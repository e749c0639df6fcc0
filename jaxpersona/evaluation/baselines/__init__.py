"""Other ways to a persona from the same pairs."""
