"""Opinion studies with real people: what is shown, what they answered, what follows from it (AIM 2019, section 2)."""
