"""Pure values and decisions (floor 6): no I/O, no clock, no event loop."""
