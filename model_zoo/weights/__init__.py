"""Where numbers come from: files of variables."""
