import type { NextConfig } from "next";
// Read here too, so that a build without the URLs of its APIs fails before it begins.
import "./lib/bases";

const config: NextConfig = {
  // Plain files: a small server in the image hands them out.
  output: "export",
  // The same sources give the same files: no random build ID, and file names from content alone.
  generateBuildId: () => "aurora-glam",
  // `npm test` has checked the types; the twins of a commit need not check them again, once each.
  typescript: { ignoreBuildErrors: true },
  images: { unoptimized: true },
  poweredByHeader: false,
  reactStrictMode: true,
  turbopack: { root: import.meta.dirname },
};

export default config;
