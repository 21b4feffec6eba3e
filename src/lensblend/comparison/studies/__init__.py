"""What belongs to one paper or challenge."""
