"""``python -m stylize``"""

from stylize.cli import main

main()
