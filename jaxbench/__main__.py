"""`python -m jaxbench`, the same as the `jaxbench` command."""

from jaxbench.cli import main

if __name__ == "__main__":
    main()
