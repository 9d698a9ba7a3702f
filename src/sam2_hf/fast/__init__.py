"""The network's arithmetic in a faster order; `dispatch` chooses it."""
