"""The built-in policies; they go through the same hooks as every plugin."""
