"""Learning to write better queries: a store of searches with their hits, rewards, training data and training."""
