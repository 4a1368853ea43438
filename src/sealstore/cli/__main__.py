"""``python -m sealstore.cli``, where the program itself is not on the path."""

from sealstore.cli import main

main()
