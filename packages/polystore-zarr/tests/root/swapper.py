"""Exchange pairs of names at full speed. This script imports nothing next to it."""

import ctypes
import os
import sys

AT_CWD, EXCHANGE = -100, 2

if __name__ == "__main__":
    os.chdir(sys.argv[1])
    names = [name.encode() for name in sys.argv[2:]]
    pairs = list(zip(names[::2], names[1::2], strict=True))
    renameat2 = ctypes.CDLL(None).renameat2
    print("swapping", flush=True)
    while os.getppid() != 1:
        for one, other in pairs:
            renameat2(AT_CWD, one, AT_CWD, other, EXCHANGE)
