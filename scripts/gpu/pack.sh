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
kib=$(du -sk .gpu/wheels | cut -f1)
echo "$(ls .gpu/wheels | wc -l) wheels, $((kib / 1024)) MiB in .gpu/wheels"
if [ "$kib" -gt $((limit_mib * 1024)) ]; then
  echo "error: the wheels take $((kib / 1024)) MiB, expected $limit_mib at most" >&2
  exit 1
fi
kib=$((kib + $(git ls-files -z | xargs -0 du -ckL | tail -1 | cut -f1)))
echo "$((kib / 1024)) MiB with the files of the repository"
if [ "$kib" -gt $((carried_mib * 1024)) ]; then
  echo "error: that is more than the $carried_mib MiB that are carried; leave out weights/eeg-scenes" >&2
  exit 1
fi
