"""An example plugin for ``sup``: ``plugin`` holds the hooks."""
