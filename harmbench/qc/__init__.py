"""Quality control of a preparation: numbers, flags, pictures and one page."""
