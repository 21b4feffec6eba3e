"""Blocks that two or more networks use; a block used once stays in its network."""
