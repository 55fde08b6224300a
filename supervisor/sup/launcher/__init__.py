"""The launcher: the small parent of the services and of the supervisor. See ``loop``."""
