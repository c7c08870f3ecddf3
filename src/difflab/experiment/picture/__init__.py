"""Pictures of samples: tiles, sheets of tiles with words around them, and the files they are written to."""
