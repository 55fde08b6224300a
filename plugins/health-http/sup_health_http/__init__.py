"""HTTP health checks for ``sup``: ``plugin`` holds the hooks, ``check`` the check."""
