"""Brain to features, images, words and retrieval."""
