#!/bin/sh
# Turn several of your own pictures into one style, then paint a folder of photos with it.
#
#     sh my-style.sh [OUTPUT_FOLDER]        (default: ./my-style-out)
#
# To use your own pictures, replace "$here/styles/mine" and "$here/photos" below by your folders.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${1:-./my-style-out}
case $out in
    -*) out=./$out ;; # a folder whose name looks like an option
esac

if ! command -v stylize >/dev/null 2>&1; then
    echo "my-style.sh: the command 'stylize' was not found; install the package, or activate its environment" >&2
    exit 127
fi
mkdir -p -- "$out"

# Once: the pictures of one hand become one small file.
stylize encode-style "$here/styles/mine" -o "$out/mine.safetensors" --overwrite

# As often as you like: that file paints every photo of a folder.
stylize batch "$here/photos" --style "$out/mine.safetensors" --output "$out/photos"

printf 'The pictures are in %s\n' "$out/photos"
