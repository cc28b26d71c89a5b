"""`python -m unlearn_train` is the `unlearn` command."""

import sys

from unlearn_train.cli import main

if __name__ == "__main__":
    sys.exit(main())
