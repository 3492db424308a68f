//! Entry points of the fuzz targets (`fuzz/`): each takes any bytes, reads them as the product would, and asserts what must hold
//! whatever they are.

use std::io::Cursor;

use cyclonedx_bom::prelude::{Bom, SpecVersion, Validate as _};
use shipline_model::name::Digest;

use super::{Inventory, walk};
use crate::sbom::cyclonedx;

/// Where package data in texts lies, one path for each reader.
const TEXTS: &[&str] = &[
    "etc/os-release",
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/base",
    "usr/share/doc/zlib1g/copyright",
    "lib/apk/db/installed",
    "var/lib/rpmmanifest/container-manifest-2",
    "usr/share/sbom/app.spdx.json",
    "opt/bitnami/redis/.spdx-redis.spdx",
    "usr/lib/python3/site-packages/a-1.dist-info/sboms/a.cdx.json",
    "app/node_modules/a/package.json",
    "app/node_modules/next/dist/compiled/a/package.json",
    "usr/lib/python3/site-packages/a-1.dist-info/METADATA",
    "usr/lib/python3/site-packages/a.egg-info/PKG-INFO",
    "app/vendor/composer/installed.json",
    "usr/lib/ruby/gems/3.0.0/specifications/a-1.gemspec",
    "app/App.deps.json",
    "opt/conda/conda-meta/a-1-0.json",
];

/// Where package data in other files lies, one path for each format.
const BINARIES: &[&str] = &[
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "app/app.jar",
    "app/app.war",
    "usr/lib/python3/site-packages/a.egg",
    "usr/bin/app",
];

/// Reads package data in texts. The first byte says where they lie.
pub fn packages(bytes: &[u8]) {
    read(TEXTS, bytes);
}

/// Reads package data in other files: databases, zips, executables. The first byte says where they lie.
pub fn binaries(bytes: &[u8]) {
    read(BINARIES, bytes);
}

fn read(paths: &[&str], bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let path = paths[usize::from(*first) % paths.len()];
    let Ok(told) = walk::read(path, &mut Cursor::new(bytes)) else {
        return;
    };
    for package in &told.packages {
        assert!(!package.name.is_empty(), "a package without a name");
        assert!(package.purl().starts_with("pkg:"), "{}", package.purl());
    }
    let Ok(image) = Digest::new(format!("sha256:{:064}", 7)) else {
        return;
    };
    let inventory = Inventory {
        image,
        created: None,
        distribution: told.distribution,
        packages: told.packages,
        notes: told.notes,
    };
    let document = cyclonedx("r.io/web:1", &inventory).unwrap_or_default();
    let bom = Bom::parse_from_json_v1_5(document.as_slice());
    let valid = bom.map(|bom| bom.validate_version(SpecVersion::V1_5).passed());
    assert!(
        valid.is_ok_and(|passed| passed),
        "the document is not valid"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn the_seeds_of_the_fuzz_targets_hold() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: &[(&str, Target)] = &[("packages", packages), ("binaries", binaries)];
        for (name, target) in targets {
            for seed in std::fs::read_dir(corpus.join(name)).unwrap() {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }
}
