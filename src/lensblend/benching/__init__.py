"""What networks and trainings cost where they run: seconds, memory, operations and bytes, in tables and a chart."""
