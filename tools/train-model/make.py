"""Makes the embedded model from nothing: python tools/train-model/make.py [--seed N]. See README.md."""
import argparse
import pathlib
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
root = here.parent.parent
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--work", type=pathlib.Path, default=root / "build" / "train-model", help="where the checkpoints go")
parser.add_argument("--out", type=pathlib.Path, default=root / "examples" / "shop-desk" / "model")
options = parser.parse_args()
subprocess.run([sys.executable, here / "train.py", "--out", options.work, "--seed", str(options.seed)], check=True)
subprocess.run([sys.executable, here / "export.py", "--from", options.work, "--out", options.out], check=True)
