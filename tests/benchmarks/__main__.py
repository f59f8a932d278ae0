"""Every benchmark, one after the other, each in a Python of its own: `make bench`."""

import subprocess
import sys
from pathlib import Path

for script in ("imports.py", "vae.py", "gan.py", "diffusion.py", "grading.py"):
    print(f"## {script}\n", flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name(script)], check=True)
    print(flush=True)
