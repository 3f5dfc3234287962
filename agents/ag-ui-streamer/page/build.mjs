// Bundles the page into the Python package, where the agent serves it from: node build.mjs [folder]
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const to = process.argv[2] ?? join(here, "..", "src", "ag_ui_streamer", "page");
await mkdir(to, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { page: "src/main.ts" },
  outdir: to,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "eof",
});
await build({ absWorkingDir: here, entryPoints: ["src/page.css"], outdir: to, minify: true });
await copyFile(join(here, "src", "index.html"), join(to, "index.html"));
