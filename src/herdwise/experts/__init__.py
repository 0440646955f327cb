"""Find what the herd lacks; make and admit experts."""
