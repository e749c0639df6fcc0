"""The commands: configuration and main function of each."""
