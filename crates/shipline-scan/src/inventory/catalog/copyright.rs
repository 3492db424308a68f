//! Licences of Debian packages: `usr/share/doc/PACKAGE/copyright`, where it is in the machine-readable format (Debian's
//! copyright format 1.0) or leaves no doubt by naming a licence that every Debian system has.

use super::super::package::is_plain;
use super::{Reader, Told, text};

const FOLDER: &str = "usr/share/doc/";
/// Where a Debian system keeps the texts of licences.
const COMMON: &str = "/usr/share/common-licenses/";
/// Licences that one package's file names; the longest have half of it.
const MOST: usize = 100;

pub(super) const READER: Reader = Reader::Text {
    wants: |path| package(path).is_some(),
    read,
};

fn package(path: &str) -> Option<&str> {
    let name = path.strip_prefix(FOLDER)?.strip_suffix("/copyright")?;
    (!name.contains('/')).then_some(name)
}

fn read(path: &str, bytes: &[u8]) -> Told {
    let text = text(bytes);
    let mut licences: Vec<String> = Vec::new();
    let mut add = |licence: &str| {
        let licence = licence.trim();
        if licences.len() < MOST
            && is_plain(licence)
            && !licences.iter().any(|known| known == licence)
        {
            licences.push(licence.to_owned());
        }
    };
    if text.lines().any(|line| line.starts_with("Format:")) {
        let named = text
            .lines()
            .filter_map(|line| line.strip_prefix("License:"));
        // "GPL-2+ and MIT" names two.
        named
            .flat_map(|names| names.split(" and "))
            .flat_map(|names| names.split(" or "))
            .for_each(|name| add(name.trim_end_matches(',')));
    } else {
        for (at, _) in text.match_indices(COMMON) {
            let rest = text.get(at + COMMON.len()..).unwrap_or_default();
            let end = rest
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || "-.".contains(letter)));
            add(rest[..end.unwrap_or(rest.len())].trim_end_matches('.'));
        }
    }
    let licences = licences.into_iter();
    let of_package = package(path).map(str::to_owned);
    Told {
        licences: of_package
            .into_iter()
            .flat_map(|name| licences.clone().map(move |licence| (name.clone(), licence)))
            .collect(),
        ..Told::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let told = read("usr/share/doc/zlib1g/copyright", text.as_bytes());
        let found: Vec<&str> = told
            .licences
            .iter()
            .map(|(_, licence)| licence.as_str())
            .collect();
        assert_eq!(found, expected, "{text}");
        assert!(told.licences.iter().all(|(name, _)| name == "zlib1g"));
    }

    #[test]
    fn licences_are_read_where_they_are_named() {
        check(
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: Zlib\n text\n\nFiles: debian/*\nLicense: GPL-2+ and Expat\n\nLicense: Zlib\n more\n",
            &["Zlib", "GPL-2+", "Expat"],
        );
        check(
            "This is free software.\nSee `/usr/share/common-licenses/GPL-2'.\nOr /usr/share/common-licenses/LGPL-2.1.\n",
            &["GPL-2", "LGPL-2.1"],
        );
        check("Do as you like.\n", &[]);
        assert_eq!(package("usr/share/doc/a/b/copyright"), None);
    }
}
