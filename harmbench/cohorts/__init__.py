"""Where scans come from: the simulated cohort, a CSV manifest, a BIDS folder."""
