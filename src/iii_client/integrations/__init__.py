"""The edges to other people's frameworks, each in a file of its own; nothing inside imports them."""
