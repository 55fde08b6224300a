"""One outside thing per module (floor 7): sockets, files, processes."""
