//! Conda packages: one file a package in the `conda-meta` of an environment.

use serde::Deserialize;

use super::super::package::{Package, PackageKind, is_plain};
use super::{Reader, Told};
use crate::json;

pub(super) const READER: Reader = Reader::Text {
    wants: |path| {
        path.rsplit_once('/').is_some_and(|(folder, file)| {
            (folder == "conda-meta" || folder.ends_with("/conda-meta")) && file.ends_with(".json")
        })
    },
    read,
};

#[derive(Deserialize)]
struct Installed {
    name: Option<String>,
    version: Option<String>,
    build: Option<String>,
    channel: Option<String>,
    subdir: Option<String>,
    license: Option<String>,
}

fn read(_: &str, bytes: &[u8]) -> Told {
    let installed: Installed = match json::read(bytes) {
        Ok(installed) => installed,
        Err(error) => return Told::malformed(format!("it is no package of conda's: {error}")),
    };
    let package = installed.name.as_deref().and_then(|name| {
        let version = Some(installed.version.as_deref()?);
        Package::new(PackageKind::Conda, None, name, version)
    });
    let Some(mut package) = package else {
        return Told::malformed("it has no name or no version");
    };
    // The purl specification's qualifiers of conda.
    let qualifiers = [
        ("build", installed.build),
        ("channel", installed.channel),
        ("subdir", installed.subdir),
    ];
    for (key, value) in qualifiers {
        if let Some(value) = value.filter(|value| is_plain(value)) {
            package.qualifiers.push((key.to_owned(), value));
        }
    }
    package.licences = installed.license.into_iter().collect();
    Told {
        packages: vec![package],
        ..Told::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_read_with_what_distinguishes_its_builds() {
        let told = read(
            "",
            br#"{"build":"py311_0","channel":"conda-forge","name":"numpy","version":"1.26.4","subdir":"linux-64","license":"BSD-3-Clause","files":[]}"#,
        );
        assert_eq!(
            told.packages[0].purl(),
            "pkg:conda/numpy@1.26.4?build=py311_0&channel=conda-forge&subdir=linux-64"
        );
        assert_eq!(told.packages[0].licences, ["BSD-3-Clause"]);
        assert_eq!(read("", b"[]").notes.len(), 1);
        assert_eq!(read("", b"{\"name\":\"x\"}").notes.len(), 1);
    }
}
