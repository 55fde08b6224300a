"""``sup``: a masterless service supervisor on the ``sup_core`` gossip core."""

__version__ = "0.1.0"
