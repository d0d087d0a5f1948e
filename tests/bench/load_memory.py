"""Peak memory of loading a model file and reading one token with it, against the file's size.

usage: load_memory.py OUTPOST FILE.gguf

The weights are packed once, so what is above the file's size is vocabulary, buffers and the program itself. Fails above
1.10 times the file, which files of 500 MB and more must keep.
"""

import os
import resource
import subprocess
import sys

ALLOWED = 1.10

if len(sys.argv) != 3:
    sys.exit(__doc__)
program, file = sys.argv[1:]
subprocess.run([program, "model", "logits", file, "--tokens", "1"], stdout=subprocess.DEVNULL, check=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
size = os.path.getsize(file)
print(f"file {size} bytes, peak resident {peak} bytes, {peak / size:.3f} of the file")
sys.exit(peak > ALLOWED * size)
