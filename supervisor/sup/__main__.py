"""``python -m sup`` is the ``sup`` command."""

from sup.cli import main

if __name__ == "__main__":
    main()
