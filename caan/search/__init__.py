"""Galleries of one's own photos, on disk or on a server, and their search by sketch: `Gallery.open(...)`."""
