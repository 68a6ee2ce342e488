#!/usr/bin/env bash
# Remake weights/ from nothing: simulate, train generator and judge, pre-train, fine-tune, score.
# Each stage goes on where it was stopped. Everything on the way stays in runs/.
set -euo pipefail
cd "$(dirname "$0")/.."
run="${BIN:-.venv/bin}/dreamdiffusion"

[ -d runs/scenes-person ] || "$run" simulate --output runs/scenes-person --n_runs 10
[ -d runs/scenes-people ] || "$run" simulate --output runs/scenes-people \
  --first_subject 2 --n_subjects 10 --n_runs 3
[ -d runs/scenes-trials ] || "$run" prepare --config scenes
[ -d runs/scenes-windows ] || "$run" prepare --config scenes-windows

"$run" train-generator --config scenes
"$run" train-generator --config scenes-embeddings
"$run" train-generator --config scenes-decoder
"$run" train-judge --config scenes
"$run" pretrain --config scenes

mkdir -p weights
rm -rf weights/scenes-generator weights/judge
cp -r runs/generator-scenes-decoder/generator weights/scenes-generator
cp -r runs/judge-scenes weights/judge
rm -rf weights/judge/checkpoints weights/judge/log.jsonl

"$run" finetune --config scenes
"$run" evaluate --config scenes
rm -rf weights/eeg-scenes
cp -r runs/finetune-scenes/model weights/eeg-scenes
cp runs/evaluate-scenes/scores.json weights/eeg-scenes/scores.json
# What tells how sure a trial is, fitted on the validation run; a new recording has none of its own.
cp runs/evaluate-scenes/confidence.json weights/eeg-scenes/confidence.json
# The adapter names its generator relative to its own folder.
echo '{"generator": "../scenes-generator"}' > weights/eeg-scenes/adapter.json
# The recording that made it; `make demo` simulates the run after its last.
echo '{"n_runs": 10, "noise_level": 0.34}' > weights/eeg-scenes/recording.json

"$run" fit-prior --config scenes
"$run" evaluate --config scenes-prior
rm -rf weights/prior-scenes
cp -r runs/prior-scenes/model weights/prior-scenes
cp runs/evaluate-scenes-prior/scores.json runs/evaluate-scenes-prior/confidence.json weights/prior-scenes
cp weights/eeg-scenes/recording.json weights/prior-scenes
# What it draws with lies beside it.
sed -i 's|"generator": "[^"]*"|"generator": "../scenes-generator"|; s|"clip": "[^"]*"|"clip": "../scenes-generator/clip"|' \
  weights/prior-scenes/decoder.json
echo "weights/ is complete: $(du -sh weights | cut -f1)"
