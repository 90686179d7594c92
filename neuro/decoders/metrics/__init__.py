"""How good are decoded images, words and embeddings? Named protocols, chance levels, intervals."""
