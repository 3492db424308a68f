//! Alpine packages: `lib/apk/db/installed` (apk-tools' installed database).

use super::super::package::{Package, PackageKind, SourcePackage, is_plain};
use super::{Malformed, Reader, Told, paragraphs, text};

pub(super) const READER: Reader = Reader::Text {
    wants: |path| matches!(path, "lib/apk/db/installed" | "usr/lib/apk/db/installed"),
    read,
};

fn read(_: &str, bytes: &[u8]) -> Told {
    let text = text(bytes);
    Told::of(paragraphs(&text).map(|paragraph| package(paragraph).map(Some).ok_or(Malformed)))
}

fn package(paragraph: &str) -> Option<Package> {
    let field = |letter: &str| {
        let mut lines = paragraph.lines();
        let value = lines.find_map(|line| line.strip_prefix(letter)?.strip_prefix(':'))?;
        let value = value.trim();
        is_plain(value).then_some(value)
    };
    let (name, version) = (field("P")?, field("V")?);
    let mut package = Package::new(PackageKind::Apk, None, name, Some(version))?;
    package.architecture = field("A").map(str::to_owned);
    package.licences = field("L").map(str::to_owned).into_iter().collect();
    package.source = field("o")
        .filter(|origin| *origin != name)
        .map(|origin| SourcePackage {
            name: origin.to_owned(),
            version: None,
        });
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_with_licence_and_origin() {
        let told = read(
            "",
            b"C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld-musl-x86_64.so.1\n\nP:libcrypto3\nV:3.3.2-r1\no:openssl\nL:Apache-2.0\n\n\nP:no-version\n",
        );
        let found: Vec<_> = told
            .packages
            .iter()
            .map(|package| {
                let source = package.source.as_ref().map(|source| source.name.as_str());
                (package.purl(), source, package.licences.join("|"))
            })
            .collect();
        assert_eq!(
            found,
            [
                (
                    "pkg:apk/musl@1.2.5-r0?arch=x86_64".to_owned(),
                    None,
                    "MIT".to_owned()
                ),
                (
                    "pkg:apk/libcrypto3@3.3.2-r1?upstream=openssl".to_owned(),
                    Some("openssl"),
                    "Apache-2.0".to_owned()
                ),
            ]
        );
        assert_eq!(told.notes, ["1 entry has no name or no version"]);
    }
}
