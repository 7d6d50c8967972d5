"""Pages of the studies: results in, a `Page` out."""
