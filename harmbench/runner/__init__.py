"""The spine of a run: cells, what they share, their records, and the grid that runs them."""
