"""Jinja2 templates for ``sup``: ``plugin`` holds the hooks, ``renderer`` the rendering."""
