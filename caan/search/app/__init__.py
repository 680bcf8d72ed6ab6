"""The web page `caan app`: draw on a pad, see the photos of a gallery that are like it."""
