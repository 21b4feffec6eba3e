"""Photos through a trained network: rendering, guidance, scores, pictures."""
