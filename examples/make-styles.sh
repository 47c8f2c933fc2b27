#!/bin/sh
# Make the built-in styles again: the codes of our own drawings, for the default model of this checkout.
#
#     sh make-styles.sh [OUTPUT_FOLDER]        (default: ../models/styles beside this script)
#
# Needed whenever models/default.safetensors changes: a code belongs to one model.
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
    stylize encode-style "$here/styles/$style.jpg" --output "$out/$style.safetensors" --name "$style" --overwrite
done
stylize encode-style "$here/styles/mine" --output "$out/gouache.safetensors" --name gouache --overwrite
