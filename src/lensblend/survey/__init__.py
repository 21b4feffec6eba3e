"""Opinion studies with real people: what is shown, what they answer, and what follows (AIM 2019, section 2)."""
