"""``python -m steel_megatron`` is ``steel``."""

import sys

from steel_megatron.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
