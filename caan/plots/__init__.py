"""The paper's figures beside the retrieval grid: attention over words, token correspondences, projection of embeddings.

`words` picks the words of a description, `attention`, `correspondences` and `projection` compute and draw one figure each,
`examples` chooses what is shown, and `page` is the paper they share. Drawing takes what was computed and gives a matplotlib
`Figure`, made without pyplot: no window system, no state between figures. `benchmarks/accuracy/figures.py` draws them all.
"""
