//! The distribution: `etc/os-release`, `usr/lib/os-release` (freedesktop.org's os-release).

use super::super::package::{Distribution, is_plain};
use super::{Reader, Told, text};

/// Where it stands; the first that is there counts, and the other one is what it usually links to.
pub(in crate::inventory) const PATHS: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

pub(super) const READER: Reader = Reader::Text {
    wants: |path| PATHS.contains(&path),
    read,
};

fn read(_: &str, bytes: &[u8]) -> Told {
    let text = text(bytes);
    let field = |name: &str| {
        let mut values = text.lines().filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        });
        values.next_back().filter(|value| is_plain(value))
    };
    match field("ID") {
        Some(id) => Told {
            distribution: Some(Distribution {
                id: id.to_ascii_lowercase(),
                version: field("VERSION_ID"),
                name: field("PRETTY_NAME"),
            }),
            ..Told::default()
        },
        None => Told::malformed("it names no distribution"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_read_whatever_its_quotes() {
        let told = read(
            "etc/os-release",
            b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=Debian\n",
        );
        assert_eq!(
            told.distribution,
            Some(Distribution {
                id: "debian".to_owned(),
                version: Some("12".to_owned()),
                name: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
            })
        );
        let rolling = read("etc/os-release", b"ID=wolfi\nVERSION_ID=\n");
        assert_eq!(rolling.distribution.unwrap().version, None);
        assert_eq!(
            read("etc/os-release", b"\xff\x00nothing").notes,
            ["it names no distribution"]
        );
    }
}
