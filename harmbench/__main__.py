"""`python -m harmbench` is the command line."""

from harmbench.cli import main

if __name__ == "__main__":
    main()
