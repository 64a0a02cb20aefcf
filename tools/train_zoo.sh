#!/usr/bin/env bash
# Trains every shipped model from scratch, in the order in which they need one another, and installs each as it is made.
#   tools/train_zoo.sh DATA RUNS [further options of `braindiffusion train`, such as --device cuda]
# Stopped half way, it goes on where it was: each recipe resumes from its checkpoint, finished ones are skipped.
set -euo pipefail
data=$1 runs=$2
shift 2
export BRAINDIFFUSION_MODELS="$runs/models" # the models made here, before the shipped ones
mkdir -p "$BRAINDIFFUSION_MODELS"
made() { # RECIPE DATA [options]: trained and installed, unless it is there
  local recipe=$1 from=$2
  shift 2
  if [ -f "$BRAINDIFFUSION_MODELS/$recipe.json" ]; then return; fi
  braindiffusion train "$recipe" --data "$from" --out "$runs/$recipe" --resume "$@"
  braindiffusion models add "$runs/$recipe/$recipe.json"
}
for recipe in \
  brain-mask flair-acat-classifier flair-judge-classifier flair-acat-autoencoder flair-healthy-128 tissue-256 lesion-256 \
  lesion-segmenter-flair lesion-128 flair-vqvae flair-latent-healthy flair-noised-classifier \
  flair-denoising-ae flair-simplex-128 flair-guided-128 palette-128 flair-fanogan-gan flair-fanogan; do
  made "$recipe" "$data" "$@"
done
# a segmenter from weak labels: healing makes its masks, at the operating point tuned on val
weak="$runs/weak"
if [ ! -f "$runs/tune/operating_point.json" ]; then
  braindiffusion evaluate tune --data "$data/lgg_flair_256.npz" --out "$runs/tune" --write
fi
if [ ! -f "$weak/lgg_flair_pseudo.npz" ]; then
  braindiffusion pseudo-label --data "$data/lgg_flair_256.npz" --out "$weak/lgg_flair_pseudo.npz"
fi
made weak-segmenter-flair "$weak" "$@"
if [ ! -f "$runs/tune-weak/operating_point.json" ]; then
  braindiffusion evaluate tune --model weak-segmenter-flair --data "$data/lgg_flair_256.npz" --out "$runs/tune-weak" --write
fi
