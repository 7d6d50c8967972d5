"""Where numbers come from: files of variables, originals' names and layouts."""
