"""How well a harmonized volume matches the real scan: images, histograms, tissues, structure."""
