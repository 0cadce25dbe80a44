"""What a run shows at its end: a table of all passes and figures."""
