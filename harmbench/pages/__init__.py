"""What report and quality control share: tables as data, how figures look, and the HTML page."""
