"""A book of ready tokens and vectors, as the text encoders of others give them."""

from torch import nn

from difflab.backbone import Entry


class Ready(nn.Module):
    """Tokens `(N, L, width)`, and vectors `(N, features)` or none, of N - 1 labels and the null label; no weights."""

    channels = 0

    def __init__(self, tokens, vectors=None, mask=None):
        super().__init__()
        self.classes, self.width = len(tokens) - 1, tokens.shape[2]
        self.features = 0 if vectors is None else vectors.shape[1]
        self.tokens, self.vectors, self.mask = tokens, vectors, mask

    def forward(self, label):
        vector, mask = (None if each is None else each[label] for each in (self.vectors, self.mask))
        return Entry(vector, self.tokens[label], mask)
