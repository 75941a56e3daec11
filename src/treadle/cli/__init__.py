"""The command line; it talks to the public API only."""
