"""Results that leave the laboratory: one small file without images, names, paths or hosts.

`schema` says what the file holds, `pseudonyms` what takes the place of names, `archive` reads and writes the
file, and `export` makes it from a run folder.
"""
