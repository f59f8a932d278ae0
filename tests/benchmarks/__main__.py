"""Every benchmark, one after the other, each in a Python of its own: `make bench`."""

import os
import subprocess
import sys
from pathlib import Path

PATHS = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
MODELS = ("autoregressive.py", "flows.py", "vae.py", "gan.py", "diffusion.py")
for script in ("imports.py", *MODELS, "grading.py", "widgets.py"):
    print(f"## {script}\n", flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name(script)], check=True, env=PATHS)
    print(flush=True)
