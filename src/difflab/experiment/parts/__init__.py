"""What the other folders rest on: objects from a configuration's nodes, their identity, errors in what users write."""
