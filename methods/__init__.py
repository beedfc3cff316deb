"""The built-in harmonization methods: one file or folder each."""
