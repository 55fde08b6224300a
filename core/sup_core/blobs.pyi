"""Nothing of this module is for Python; it is cimported."""
