"""From raw scans to pairs on one grid: the steps, each a module, on volumes in memory.

`harmbench.prepare` runs them over a data set and writes a BIDS derivative.
"""
