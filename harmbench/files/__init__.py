"""Files that others wrote, read to the last byte: images with their geometry, tables, sidecars, names."""
