"""What a study asks of a benchmark: agreement of volumes, and the cost of a change of scanner."""
