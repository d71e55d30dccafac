"""`dth` and `python -m dth`."""

from dth.cli.main import main

if __name__ == "__main__":
    main()
