// Lays the exported site out as the image's layers: what every page loads changes with Next.js, React and the style sheet,
// the rest with the pages. A commit that changes a page changes one layer, and the twins of a commit share the other.
//
// node scripts/layers.mjs OUT DIST

import { cpSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

const [out, dist] = process.argv.slice(2);
if (out === undefined || dist === undefined) {
  throw new Error("usage: node scripts/layers.mjs OUT DIST");
}

const files = readdirSync(out, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name).slice(out.length + 1))
  .sort();
const pages = files.filter((file) => file.endsWith(".html")).map((file) => readFileSync(join(out, file), "utf8"));
if (pages.length === 0) {
  throw new Error(`there is no page in ${out}`);
}

for (const layer of ["framework", "pages"]) {
  rmSync(join(dist, layer), { recursive: true, force: true });
}
let shared = 0;
for (const file of files) {
  const everywhere = file.startsWith("_next/static/") && pages.every((page) => page.includes(`/${file}`));
  shared += everywhere ? 1 : 0;
  cpSync(join(out, file), join(dist, everywhere ? "framework" : "pages", file));
}
if (shared === 0) {
  throw new Error(`no file in ${out} is loaded by all pages`);
}
console.log(`${shared} files that every page loads, ${files.length - shared} others`);
