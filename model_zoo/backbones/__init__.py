"""One file a family: the architecture and its named variants.

To add a family: a file with a dataclass that satisfies `architecture.Architecture` and
a table `VARIANTS`, and a line in `catalog`.
"""
