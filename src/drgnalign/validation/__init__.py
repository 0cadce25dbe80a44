"""How good maps are, and which claims about them are to be believed."""
