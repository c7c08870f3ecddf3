"""From the words that users type to a plain configuration, by Hydra."""
