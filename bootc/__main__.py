"""`python -m bootc` is the command."""

import sys

from bootc.cli.main import main

sys.exit(main())
