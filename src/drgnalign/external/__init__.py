"""Drivers of refinement programs that the user brings."""
