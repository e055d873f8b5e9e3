import os
import sys

print("the licence is missing", file=sys.stderr)
os._exit(7)
