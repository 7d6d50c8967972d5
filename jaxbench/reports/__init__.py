"""Reports: pages, figures and tables of what studies measured."""
