#!/usr/bin/env bash
# Fetch the wheels that a bare GPU machine lacks (x86-64, Python 3.12, its own torch, transformers and
# accelerate) into .gpu/wheels, which git ignores. Pictures need no packing: scenes are drawn there.
# There: python3 -m pip install -q --no-index --no-deps --target /tmp/site .gpu/wheels/*.whl
#        export PYTHONPATH=/tmp/site:src
#        python3 benchmarks/gpu.py --output "$OUT"         # 6 minutes: what it measures
#        python3 scripts/gpu/teach.py --output "$OUT"      # 8 minutes: what it trains
set -euo pipefail
cd "$(dirname "$0")/../.."
python="${PYTHON:-.venv/bin/python}"
limit_mib=20
carried_mib=64   # the files of the repository and the wheels together
# The versions are those of constraints.txt; nothing here brings torch or CUDA.
packages=(annotated-types decorator diffusers docstring_parser mne pydantic pydantic_core tyro
          typing-inspection)

rm -rf .gpu/wheels
mkdir -p .gpu/wheels
platforms=()
for glibc in 39 38 37 36 35 34 31 28 27 24 17; do
  platforms+=(--platform "manylinux_2_${glibc}_x86_64")
done
for name in "${packages[@]}"; do
  "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.12 --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 \
    -d .gpu/wheels "$(grep -i "^${name}==" constraints.txt)"
done
# Source spaces and helmets are half of MNE, and nothing there needs them.
"$python" - .gpu/wheels/mne-*.whl <<'END'
import sys, zipfile
from pathlib import Path

path, small = Path(sys.argv[1]), Path(sys.argv[1] + ".small")
left_out = ("mne/data/icos", "mne/data/helmets/")
with zipfile.ZipFile(path) as whole, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as rest:
    for item in whole.infolist():
        if not item.filename.startswith(left_out):
            rest.writestr(item, whole.read(item))
small.replace(path)
END

bytes_of() { xargs -0 stat -Lc %s | awk '{sum += $1} END {print sum}'; }
wheels=$(find .gpu/wheels -type f -print0 | bytes_of)
files=$(git ls-files -z --cached --others --exclude-standard | bytes_of)
echo "$(ls .gpu/wheels | wc -l) wheels, $((wheels >> 20)) MiB in .gpu/wheels;" \
     "$(((wheels + files) >> 20)) MiB with the files of the repository"
if [ "$wheels" -gt $((limit_mib << 20)) ]; then
  echo "error: the wheels take $((wheels >> 20)) MiB, expected $limit_mib at most" >&2
  exit 1
fi
if [ $((wheels + files)) -gt $((carried_mib << 20)) ]; then
  echo "error: more than the $carried_mib MiB that are carried; rm -r docs/results weights/eeg-scenes" \
       "for the time (git restore brings them back)" >&2
  exit 1
fi
