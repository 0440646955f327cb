"""What a completion says, and which answers agree."""
