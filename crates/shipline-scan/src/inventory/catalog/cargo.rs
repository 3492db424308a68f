//! Rust crates: what cargo-auditable writes into a binary (`.dep-v0`): JSON in zlib, as RustSec's `auditable-serde` has it.

use std::io::Read;

use flate2::read::ZlibDecoder;
use serde::Deserialize;

use super::super::elf::Executable;
use super::super::package::{Package, PackageKind};
use super::{Malformed, Reader, Told};

/// The section is that long at most, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;
/// And its JSON.
const LARGEST_JSON: u64 = 16 * 1024 * 1024;

pub(super) const READER: Reader = Reader::Section {
    name: ".dep-v0",
    largest: LARGEST,
    read,
};

#[derive(Deserialize)]
struct Audit {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    #[serde(default)]
    kind: Kind,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Ran when it was built; nothing of it is in the binary.
    Build,
    #[default]
    #[serde(other)]
    Runtime,
}

fn read(section: &[u8], _: &mut Executable<'_>) -> Told {
    let json = ZlibDecoder::new(section).take(LARGEST_JSON);
    let audit: Audit = match serde_json::from_reader(std::io::BufReader::new(json)) {
        Ok(audit) => audit,
        Err(error) => {
            return Told::malformed(format!("its list of crates cannot be read: {error}"));
        }
    };
    Told::of(audit.packages.into_iter().map(|package| {
        if package.kind == Kind::Build {
            return Ok(None);
        }
        let version = Some(package.version.as_str());
        let package = Package::new(PackageKind::Cargo, None, &package.name, version);
        package.map(Some).ok_or(Malformed)
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::super::super::elf::tests::{ALL, elf};
    use super::*;

    fn told(section: &[u8]) -> Told {
        let mut content = Cursor::new(elf(ALL[0], &[]).0);
        let mut executable = Executable::open(&mut content).unwrap().unwrap();
        read(section, &mut executable)
    }

    fn zlib(json: &str) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(json.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn crates_that_are_in_the_binary_are_listed() {
        let told = told(&zlib(
            r#"{"packages":[{"name":"shop","version":"0.1.0","source":"local","dependencies":[1],"root":true},
               {"name":"serde","version":"1.0.219","source":"registry","kind":"runtime"},
               {"name":"cc","version":"1.2.0","source":"registry","kind":"build"},
               {"name":"","version":"1.2.0","source":"registry"}]}"#,
        ));
        let names: Vec<_> = told.packages.iter().map(Package::purl).collect();
        assert_eq!(names, ["pkg:cargo/shop@0.1.0", "pkg:cargo/serde@1.0.219"]);
        assert_eq!(told.notes, ["1 entry has no name or no version"]);
    }

    #[test]
    fn what_is_broken_is_told() {
        let whole = zlib(r#"{"packages":[]}"#);
        for section in [&b""[..], b"no zlib", &whole[..whole.len() / 2], &zlib("7")] {
            let told = told(section);
            assert!(told.packages.is_empty() && told.notes.len() == 1);
        }
    }
}
