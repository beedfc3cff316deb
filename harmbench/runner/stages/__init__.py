"""The stages of a cell: fit, harmonize, score (which segments first).

Each module has the key of what its stage makes, and functions of the run's context, the cell and its
record. A stage that worked returns the new record, which is then on disk too; one that fails raises, and
the last record counts.
"""
