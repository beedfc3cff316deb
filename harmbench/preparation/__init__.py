"""From raw scans to pairs on one grid: the steps, each a module, on volumes in memory.

`subject` takes one person through them, `cohort` a whole data set, and `qc` shows what came out.
"""
