"""`python -m dctcodec`: the command line."""

from dctcodec.cli.main import main

if __name__ == "__main__":
    main()
