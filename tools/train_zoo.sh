#!/usr/bin/env bash
# Trains every shipped model from scratch, in the order in which they need one another, and installs each as it is made.
#   tools/train_zoo.sh DATA RUNS [further options of `braindiffusion train`, such as --device cuda]
# Stopped half way, it goes on where it was: each recipe resumes from its checkpoint, finished ones are skipped.
set -euo pipefail
data=$1 runs=$2
shift 2
export BRAINDIFFUSION_MODELS="$runs/models" # the models made here, before the shipped ones
mkdir -p "$BRAINDIFFUSION_MODELS"
for recipe in \
  brain-mask flair-acat-classifier flair-acat-autoencoder flair-healthy-128 lesion-segmenter-flair \
  lesion-128 t1-healthy-128 flair-vqvae flair-latent-healthy \
  flair-noised-classifier flair-denoising-ae flair-simplex-128 palette-128; do
  if [ -f "$BRAINDIFFUSION_MODELS/$recipe.json" ]; then continue; fi
  braindiffusion train "$recipe" --data "$data" --out "$runs/$recipe" --resume "$@"
  braindiffusion models add "$runs/$recipe/$recipe.json"
done
