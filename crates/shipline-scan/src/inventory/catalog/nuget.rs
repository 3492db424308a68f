//! .NET packages: the `*.deps.json` beside an application, which lists the libraries that were published with it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::package::{Package, PackageKind};
use super::{Malformed, Reader, Told};
use crate::json;

pub(super) const READER: Reader = Reader::Text {
    wants: |path| path.ends_with(".deps.json"),
    read,
};

#[derive(Deserialize)]
struct Dependencies {
    /// By `NAME/VERSION`.
    libraries: BTreeMap<String, Library>,
}

#[derive(Deserialize)]
struct Library {
    #[serde(rename = "type", default)]
    kind: String,
}

fn read(_: &str, bytes: &[u8]) -> Told {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let libraries = match json::read::<Dependencies>(bytes) {
        Ok(dependencies) => dependencies.libraries,
        Err(error) => {
            return Told::malformed(format!("its list of libraries cannot be read: {error}"));
        }
    };
    Told::of(libraries.iter().map(|(key, library)| {
        // `reference` is a file that the compiler found somewhere, and nobody's package.
        if library.kind == "reference" {
            return Ok(None);
        }
        let (name, version) = key.rsplit_once('/').ok_or(Malformed)?;
        let package = Package::new(PackageKind::Nuget, None, name, Some(version));
        package.map(Some).ok_or(Malformed)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_an_application_are_listed() {
        let told = read(
            "",
            b"\xef\xbb\xbf{\"libraries\":{\"Shop/1.0.0\":{\"type\":\"project\"},\"Newtonsoft.Json/12.0.1\":{\"type\":\"package\",\"sha512\":\"\"},\"odd\":{\"type\":\"package\"},\"System.Ref/4.0\":{\"type\":\"reference\"}}}",
        );
        let purls: Vec<String> = told.packages.iter().map(Package::purl).collect();
        assert_eq!(
            purls,
            ["pkg:nuget/Newtonsoft.Json@12.0.1", "pkg:nuget/Shop@1.0.0"]
        );
        assert_eq!(told.notes, ["1 entry has no name or no version"]);
        assert_eq!(read("", b"{\"libraries\":[]}").notes.len(), 1);
    }
}
