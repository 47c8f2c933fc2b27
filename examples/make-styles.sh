#!/bin/sh
# Make the built-in styles again, the refined codes of our own drawings, and the sheet that the README shows.
#
#     sh make-styles.sh [OUTPUT_FOLDER]        (default: ../models/styles beside this script)
#
# Needed whenever models/default.safetensors changes: a code belongs to one model. A minute a style; needs torch.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${1:-$here/../models/styles}
unset STYLIZE_MODEL

if ! command -v stylize >/dev/null 2>&1; then
    echo "make-styles.sh: the command 'stylize' was not found; install the package, or activate its environment" >&2
    exit 127
fi
mkdir -p -- "$out"
for style in swirls ink mosaic watercolour woodcut; do
    stylize encode-style "$here/styles/$style.jpg" --refine --perceptual vgg19 --fine --output "$out/$style.safetensors" --overwrite
done
stylize encode-style "$here/styles/mine" --refine --perceptual vgg19 --fine --output "$out/gouache.safetensors" --overwrite

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stylize encode-style "$here/styles/mine" --output "$work/plain.safetensors"
cp "$out/gouache.safetensors" "$work/refined.safetensors"
stylize preview "$here/photos/cat.jpg" --style "$work/plain.safetensors" --style "$work/refined.safetensors" \
    --output "$here/own-style.jpg" --overwrite
