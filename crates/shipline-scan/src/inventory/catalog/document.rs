//! SBOMs inside of an image: those of wheels (PEP 770), of buildpacks, and what vendors put beside a program that they built from
//! sources. CycloneDX and SPDX, both in JSON.

use std::str::FromStr as _;

use packageurl::PackageUrl;
use serde::Deserialize;
use serde_json::Value;

use super::super::package::{Package, PackageKind, is_plain};
use super::{MOST_PACKAGES, Reader, Told, file_name};
use crate::json;

pub(super) const READER: Reader = Reader::Text { wants, read };

/// Components may hold components; deeper than this, in levels, none are looked at.
const DEEPEST: usize = 32;

/// Endings of files that say of themselves that they are one.
const ENDINGS: [&str; 8] = [
    ".cdx",
    ".cdx.json",
    ".cyclonedx.json",
    ".bom.json",
    ".sbom.json",
    ".spdx",
    ".spdx.json",
    ".cdx.xml",
];

fn wants(path: &str) -> bool {
    let name = file_name(path);
    let named = ENDINGS.iter().any(|ending| name.ends_with(ending));
    named || matches!(name, "bom.json" | "sbom.json") || of_a_wheel(path)
}

/// A wheel's are in its `sboms`, whatever they are called (PEP 770).
fn of_a_wheel(path: &str) -> bool {
    path.contains(".dist-info/sboms/")
}

/// The formats in one: each has a mark that it must have.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "bomFormat")]
    format: Option<Value>,
    #[serde(default)]
    components: Vec<Component>,
    #[serde(rename = "spdxVersion")]
    spdx: Option<Value>,
    #[serde(default)]
    packages: Vec<SpdxPackage>,
}

#[derive(Deserialize)]
struct Component {
    purl: Option<String>,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage {
    #[serde(default)]
    external_refs: Vec<Reference>,
    license_concluded: Option<String>,
    license_declared: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default)]
    reference_type: String,
    #[serde(default)]
    reference_locator: String,
}

fn read(path: &str, bytes: &[u8]) -> Told {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = bytes.trim_ascii_start();
    if !start.starts_with(b"{") {
        // Many files are called so; these two begin as SBOMs in other formats do.
        let other = start.starts_with(b"SPDXVersion:")
            || (start.starts_with(b"<") && file_name(path).ends_with(".cdx.xml"));
        return if other {
            Told::malformed("it is an SBOM in a format that is not read (JSON is)")
        } else {
            Told::default()
        };
    }
    let document: Document = match json::read(bytes) {
        Ok(document) => document,
        Err(error) => return Told::malformed(format!("it is no SBOM: {error}")),
    };
    let mut reading = Reading::default();
    if document.format.is_some() {
        reading.components(&document.components, 0);
    } else if document.spdx.is_some() {
        for package in &document.packages {
            reading.spdx(package);
        }
    } else if of_a_wheel(path) {
        return Told::malformed("it is no SBOM in CycloneDX or SPDX");
    }
    reading.told()
}

#[derive(Default)]
struct Reading {
    told: Told,
    /// Components that no package URL names, or one of a kind that is not known here.
    unnamed: usize,
    too_deep: bool,
}

impl Reading {
    fn components(&mut self, components: &[Component], depth: usize) {
        if depth == DEEPEST {
            self.too_deep |= !components.is_empty();
            return;
        }
        for component in components {
            self.add(component.purl.as_deref(), Vec::new());
            self.components(&component.components, depth + 1);
        }
    }

    fn spdx(&mut self, package: &SpdxPackage) {
        let mut references = package.external_refs.iter();
        let purl = references.find(|reference| reference.reference_type == "purl");
        let licences = [&package.license_concluded, &package.license_declared];
        let licence = licences
            .into_iter()
            .flatten()
            .find(|licence| !matches!(licence.as_str(), "NOASSERTION" | "NONE"));
        self.add(
            purl.map(|reference| reference.reference_locator.as_str()),
            licence.cloned().into_iter().collect(),
        );
    }

    fn add(&mut self, purl: Option<&str>, licences: Vec<String>) {
        if self.told.packages.len() > MOST_PACKAGES {
            return;
        }
        match purl.and_then(package) {
            Some(mut package) => {
                package.licences = licences;
                self.told.packages.push(package);
            }
            None => self.unnamed += 1,
        }
    }

    fn told(mut self) -> Told {
        if self.too_deep {
            self.told
                .notes
                .push("its components lie too deep in others".to_owned());
        }
        match self.unnamed {
            0 => {}
            1 => self
                .told
                .notes
                .push("1 component has no package URL that is known here".to_owned()),
            more => self.told.notes.push(format!(
                "{more} components have no package URL that is known here"
            )),
        }
        self.told
    }
}

/// The package that a package URL names.
fn package(purl: &str) -> Option<Package> {
    let purl = PackageUrl::from_str(purl).ok()?;
    let kind = PackageKind::of_word(purl.ty())?;
    let name = match (kind, purl.namespace()) {
        // A Go module's path is one name.
        (PackageKind::Golang, Some(namespace)) => format!("{namespace}/{}", purl.name()),
        _ => purl.name().to_owned(),
    };
    let namespace = purl.namespace().filter(|_| kind != PackageKind::Golang);
    let epoch = purl.qualifiers().get("epoch");
    let version = match (epoch, purl.version()) {
        (Some(epoch), Some(version)) if kind == PackageKind::Rpm => {
            Some(format!("{epoch}:{version}"))
        }
        (_, version) => version.map(str::to_owned),
    };
    let mut package = Package::new(kind, namespace, &name, version.as_deref())?;
    let mut qualifiers: Vec<(String, String)> = purl
        .qualifiers()
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .filter(|(key, value)| is_plain(key) && is_plain(value) && key != "epoch")
        .collect();
    qualifiers.sort();
    for (key, value) in qualifiers {
        match key.as_str() {
            "arch" => package.architecture = Some(value),
            "distro" => package.release = Some(value),
            _ => package.qualifiers.push((key, value)),
        }
    }
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sboms_are_told_by_name_or_place() {
        for (path, wanted) in [
            ("layers/sbom/launch/x/sbom.cdx.json", true),
            ("opt/bitnami/redis/.spdx-redis.spdx", true),
            ("venv/numpy-2.0.dist-info/sboms/auditwheel.json", true),
            ("app/bom.json", true),
            ("app/bomb.json", false),
            ("venv/numpy-2.0.dist-info/METADATA", false),
        ] {
            assert_eq!(wants(path), wanted, "{path}");
        }
    }

    fn purls(path: &str, text: &str) -> (Vec<String>, Vec<String>) {
        let told = read(path, text.as_bytes());
        (
            told.packages.iter().map(Package::purl).collect(),
            told.notes,
        )
    }

    #[test]
    fn packages_are_what_their_urls_say() {
        let cyclonedx = r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[
            {"purl":"pkg:npm/%40s/left-pad@1.3.0","components":[{"purl":"pkg:golang/example.com/a/b@v1.0.0"}]},
            {"purl":"pkg:rpm/fedora/bash@5.2-1?arch=x86_64&epoch=2&distro=fedora-40"},
            {"name":"unnamed"},{"purl":"pkg:swift/x/y@1"}]}"#;
        let (found, notes) = purls("x.cdx.json", cyclonedx);
        assert_eq!(
            found,
            [
                "pkg:npm/%40s/left-pad@1.3.0",
                "pkg:golang/example.com/a/b@v1.0.0",
                "pkg:rpm/fedora/bash@5.2-1?arch=x86_64&distro=fedora-40&epoch=2",
            ]
        );
        assert_eq!(
            notes,
            ["2 components have no package URL that is known here"]
        );
        let spdx = r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"redis","licenseConcluded":"NOASSERTION","licenseDeclared":"BSD-3-Clause","externalRefs":[
            {"referenceType":"cpe23Type","referenceLocator":"cpe:2.3:a:redis"},
            {"referenceType":"purl","referenceLocator":"pkg:bitnami/redis@7.2.4-0?arch=amd64&distro=debian-12"}]}]}"#;
        let told = read(".spdx-redis.spdx", spdx.as_bytes());
        assert_eq!(
            told.packages[0].purl(),
            "pkg:bitnami/redis@7.2.4-0?arch=amd64&distro=debian-12"
        );
        assert_eq!(told.packages[0].licences, ["BSD-3-Clause"]);
        assert!(told.notes.is_empty());
    }

    #[test]
    fn what_is_none_is_nothing_and_what_cannot_be_read_is_told() {
        for text in ["{\"packages\":[]}", "The MIT License", ""] {
            assert_eq!(read("a.spdx", text.as_bytes()), Told::default(), "{text}");
        }
        for (path, text) in [
            ("a.spdx", "SPDXVersion: SPDX-2.3\n"),
            ("a.cdx.xml", "<?xml version=\"1.0\"?><bom/>"),
            ("a.cdx.json", "{\"bomFormat\":"),
            ("x-1.dist-info/sboms/a.json", "{}"),
        ] {
            assert_eq!(read(path, text.as_bytes()).notes.len(), 1, "{path}");
        }
        let open = r#"{"components":["#.repeat(50);
        let close = "]}".repeat(50);
        let deep = format!(r#"{{"bomFormat":"CycloneDX","components":[{open}{close}]}}"#);
        assert_eq!(
            purls("a.cdx.json", &deep).1[0],
            "its components lie too deep in others"
        );
    }
}
