//! PHP packages: what Composer notes of those that it has installed (`vendor/composer/installed.json`), in the shape of version 2
//! and in the one before.

use serde::Deserialize;
use serde_json::Value;

use super::super::package::{Package, PackageKind};
use super::{Malformed, Reader, Told, strings};
use crate::json;

pub(super) const READER: Reader = Reader::Text {
    wants: |path| path.ends_with("/composer/installed.json"),
    read,
};

#[derive(Deserialize)]
struct Installed {
    packages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: Option<String>,
    version: Option<String>,
    license: Option<Value>,
}

fn read(_: &str, bytes: &[u8]) -> Told {
    let installed = json::read::<Installed>(bytes).map(|list| list.packages);
    let installed = installed.or_else(|_| json::read::<Vec<Entry>>(bytes));
    match installed {
        Ok(entries) => Told::of(
            entries
                .iter()
                .map(|entry| package(entry).map(Some).ok_or(Malformed)),
        ),
        Err(error) => Told::malformed(format!("it is no list of Composer's: {error}")),
    }
}

fn package(entry: &Entry) -> Option<Package> {
    let (vendor, name) = entry.name.as_deref()?.split_once('/')?;
    let version = Some(entry.version.as_deref()?);
    let mut package = Package::new(PackageKind::Composer, Some(vendor), name, version)?;
    package.licences = strings(entry.license.as_ref());
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        let entries = r#"[{"name":"acme/log","version":"v3.5.0","license":["MIT"]},{"name":"acme/http","version":"1.0","license":"ISC"},{"version":"1"}]"#;
        for text in [
            entries.to_owned(),
            format!("{{\"packages\":{entries},\"dev\":true}}"),
        ] {
            let told = read("", text.as_bytes());
            let found: Vec<_> = told
                .packages
                .iter()
                .map(|package| (package.purl(), package.licences.join("|")))
                .collect();
            assert_eq!(
                found,
                [
                    ("pkg:composer/acme/log@v3.5.0".to_owned(), "MIT".to_owned()),
                    ("pkg:composer/acme/http@1.0".to_owned(), "ISC".to_owned()),
                ]
            );
            assert_eq!(told.notes, ["1 entry has no name or no version"]);
        }
        assert_eq!(read("", b"{}").notes.len(), 1);
    }
}
