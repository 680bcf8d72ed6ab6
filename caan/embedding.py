"""Pictures to features, under the library's name; the code is in the Hub set, where the retrieval pipeline needs it too."""

from embedding_caan import IMAGE_SUFFIXES, ProcessedImages, embed_images, list_images

__all__ = ["IMAGE_SUFFIXES", "ProcessedImages", "embed_images", "list_images"]
