#!/bin/sh
# Makes what the Dockerfile copies: dist/server, dist/framework, dist/pages. The URLs of the six APIs come from the
# environment (NEXT_PUBLIC_*_API_BASE); without them it fails.
set -eu
umask 022

cd "$(dirname "$0")"
npm run build
node scripts/layers.mjs out dist
server/cargo.sh image
# Next.js gives its files modes of its own.
chmod -R u=rwX,go=rX dist
