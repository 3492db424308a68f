//! Go modules: what the linker writes into every binary (`.go.buildinfo`), as the toolchain's own `debug/buildinfo` reads it:
//! with the texts in the section (since Go 1.18), or with pointers to them.

use std::io;

use super::super::elf::Executable;
use super::super::package::{Package, PackageKind, is_plain};
use super::{MOST_PACKAGES, Reader, Told, text};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The section is that long at most, in bytes; those of the largest programs have a tenth of it.
const LARGEST: usize = 16 * 1024 * 1024;
/// The texts begin here, or what points to them.
const INLINE_AT: usize = 32;
const POINTERS_AT: usize = 16;
/// Before and after the module texts stand marks of this many bytes.
const MARK: usize = 16;

pub(super) const READER: Reader = Reader::Section {
    name: ".go.buildinfo",
    largest: LARGEST,
    read,
};

fn read(section: &[u8], executable: &mut Executable<'_>) -> Told {
    match texts(section, executable) {
        Ok(Some((version, modules))) => Told {
            packages: packages(&version, &modules),
            ..Told::default()
        },
        Ok(None) => Told::malformed("its Go build information cannot be read"),
        Err(error) => Told::malformed(format!("its Go build information cannot be read: {error}")),
    }
}

/// The toolchain's version and the modules.
fn texts(
    section: &[u8],
    executable: &mut Executable<'_>,
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    // The header is aligned to its own length, and need not be the section's first.
    let mut headers = section.chunks(16).enumerate();
    let Some((at, _)) = headers.find(|(_, chunk)| chunk.starts_with(MAGIC)) else {
        return Ok(None);
    };
    let header = section.get(at * 16..).unwrap_or_default();
    let Some([pointer, flags]) = header.get(14..16) else {
        return Ok(None);
    };
    let modules;
    let version;
    if flags & 2 != 0 {
        let Some((first, rest)) = header.get(INLINE_AT..).and_then(inline) else {
            return Ok(None);
        };
        version = first.to_vec();
        modules = inline(rest)
            .map_or(&[][..], |(modules, _)| modules)
            .to_vec();
    } else {
        let mut numbers = executable.numbers();
        numbers.big = flags & 1 != 0;
        numbers.pointer = usize::from(*pointer);
        if !matches!(numbers.pointer, 4 | 8) {
            return Ok(None);
        }
        let mut pointed = |at: usize| -> io::Result<Option<Vec<u8>>> {
            let length = numbers.pointer;
            let Some(address) = numbers.pointer_at(header, at) else {
                return Ok(None);
            };
            let Some(string) = executable.loaded(address, 2 * length as u64, 2 * length)? else {
                return Ok(None);
            };
            let parts = numbers
                .pointer_at(&string, 0)
                .zip(numbers.pointer_at(&string, length));
            match parts {
                Some((data, size)) => executable.loaded(data, size, LARGEST),
                None => Ok(None),
            }
        };
        let Some(first) = pointed(POINTERS_AT)? else {
            return Ok(None);
        };
        version = first;
        modules = pointed(POINTERS_AT + numbers.pointer)?.unwrap_or_default();
    }
    // Without its marks it is nothing, as the toolchain has it.
    let inner = modules
        .get(MARK..modules.len().saturating_sub(MARK))
        .filter(|inner| inner.last() == Some(&b'\n'));
    Ok(Some((version, inner.unwrap_or_default().to_vec())))
}

/// A text with its length before it (a varint), and what follows.
fn inline(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length: usize = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(length);
        }
    }
    None
}

/// A module as a line names it.
#[derive(Clone, Copy)]
struct Module<'t> {
    path: &'t str,
    version: Option<&'t str>,
}

fn packages(version: &[u8], modules: &[u8]) -> Vec<Package> {
    let (version, modules) = (text(version), text(modules));
    let mut all: Vec<Module<'_>> = Vec::new();
    // `go1.23.4`, and what was tried in that build behind a space; a toolchain that was built from sources says so before it.
    if let Some(number) = version
        .strip_prefix("devel ")
        .unwrap_or(&version)
        .strip_prefix("go")
        .and_then(|rest| rest.split_ascii_whitespace().next())
    {
        all.push(Module {
            path: "stdlib",
            version: Some(number),
        });
    }
    let (mut main, mut linked) = (None, None);
    for line in modules.lines() {
        let mut fields = line.split('\t');
        let (word, Some(path)) = (fields.next().unwrap_or_default(), fields.next()) else {
            continue;
        };
        let version = fields.next().filter(|version| is_version(version));
        match word {
            // Programs that are built without modules have a package, and no module around it.
            "path" if path != "command-line-arguments" => {
                main = Some(all.len());
                let version = None;
                all.push(Module { path, version });
            }
            "mod" => match main.and_then(|at| all.get_mut(at)) {
                Some(package) => *package = Module { path, version },
                None => {
                    main = Some(all.len());
                    all.push(Module { path, version });
                }
            },
            "dep" => all.push(Module { path, version }),
            // What stands in for the last one; a folder on the builder's disk has no name for anybody else.
            "=>" => {
                if let Some(last) = all.last_mut() {
                    let is_folder = path.starts_with('.') || path.starts_with('/');
                    last.path = if is_folder { last.path } else { path };
                    last.version = version;
                }
            }
            "build" => linked = linked.or_else(|| linked_version(path)),
            _ => {}
        }
    }
    let mut packages: Vec<Package> = all
        .iter()
        .filter_map(|module| Package::new(PackageKind::Golang, None, module.path, module.version))
        .take(MOST_PACKAGES + 1)
        .collect();
    let main = main.and_then(|at| all.get(at));
    let main = main.filter(|module| module.version.is_none());
    if let (Some(main), Some(linked)) = (main, linked) {
        let unversioned = |package: &&mut Package| package.name == main.path;
        if let Some(package) = packages.iter_mut().find(unversioned) {
            package.version = Some(linked);
        }
    }
    packages
}

/// The version that a builder links into its program (`-ldflags="-X main.version=1.2.3"`): the toolchain itself knew none before
/// Go 1.24.
fn linked_version(setting: &str) -> Option<String> {
    let flags = setting.strip_prefix("-ldflags=")?;
    let mut words = flags.split([' ', '"', '\'', '\\']);
    words.find_map(|word| {
        let (variable, value) = word.split_once('=')?;
        let (_, name) = variable.rsplit_once('.')?;
        let known = ["version", "gitversion"];
        let number = value.trim_start_matches('v');
        let is_number = number.starts_with(|first: char| first.is_ascii_digit());
        (known.iter().any(|known| name.eq_ignore_ascii_case(known))
            && is_number
            && number.contains('.')
            && is_plain(number))
        .then(|| format!("v{number}"))
    })
}

/// `(devel)` says that nobody knows.
fn is_version(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('(')
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::super::elf::tests::{ALL, BASE, elf, number};
    use super::*;

    const MODULES: &str = "path\texample.com/shop/cmd/shop
mod\texample.com/shop\t(devel)\t
dep\tgithub.com/cespare/xxhash/v2\tv2.3.0\th1:abc=
dep\tgithub.com/old/name\tv1.0.0
=>\tgithub.com/new/name\tv1.1.0\th1:def=
dep\tgithub.com/local/fork\tv0.5.0
=>\t./fork\t(devel)\t
build\t-ldflags=\"-s -w\"
build\tvcs.revision=0123456789abcdef
";
    const EXPECTED: [(&str, Option<&str>); 5] = [
        ("stdlib", Some("1.23.4")),
        ("example.com/shop", None),
        ("github.com/cespare/xxhash/v2", Some("v2.3.0")),
        ("github.com/new/name", Some("v1.1.0")),
        ("github.com/local/fork", None),
    ];

    fn marked() -> Vec<u8> {
        let mut modules = vec![b'<'; MARK];
        modules.extend(MODULES.as_bytes());
        modules.extend([b'>'; MARK]);
        modules
    }

    fn varint(mut length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes
    }

    fn inline_section() -> Vec<u8> {
        let mut section = MAGIC.to_vec();
        section.extend([8, 2]);
        section.resize(INLINE_AT, 0);
        for text in [&b"go1.23.4 X:nocoverageredesign"[..], &marked()] {
            section.extend(varint(text.len()));
            section.extend(text);
        }
        section
    }

    #[track_caller]
    fn check(file: Vec<u8>) {
        let mut content = Cursor::new(file);
        let mut executable = Executable::open(&mut content).unwrap().unwrap();
        let section = executable.section(".go.buildinfo", LARGEST).unwrap();
        let told = read(&section.unwrap(), &mut executable);
        let found: Vec<_> = told
            .packages
            .iter()
            .map(|package| (package.name.as_str(), package.version.as_deref()))
            .collect();
        assert_eq!(found, EXPECTED, "{:?}", told.notes);
    }

    #[test]
    fn the_main_module_has_the_version_that_somebody_linked_into_it() {
        for (lines, name, version) in [
            (
                "path\tx.org/a/cmd/a\nmod\tx.org/a\tv1.0.0\th1:x=\nbuild\t-ldflags=\"-X main.version=2.0.0\"\n",
                "x.org/a",
                Some("v1.0.0"),
            ),
            (
                "path\tx.org/a/cmd/a\nmod\tx.org/a\t(devel)\nbuild\t-ldflags=\"-w -X 'x.org/a/internal.gitVersion=v2.0.0+dfsg1' -X main.version=3\"\n",
                "x.org/a",
                Some("v2.0.0+dfsg1"),
            ),
            (
                "path\tx.org/a/cmd/a\nbuild\t-ldflags=\"-X main.version=unknown -X main.conversion=1.0\"\n",
                "x.org/a/cmd/a",
                None,
            ),
        ] {
            let found = packages(b"go1.22", lines.as_bytes());
            assert_eq!(found.len(), 2, "{lines}");
            assert_eq!(found[1].name, name);
            assert_eq!(found[1].version.as_deref(), version);
        }
        assert_eq!(
            packages(b"devel +abc", b"path\tcommand-line-arguments\n"),
            []
        );
    }

    #[test]
    fn texts_in_the_section_are_read() {
        for numbers in ALL {
            check(elf(numbers, &[(".go.buildinfo", &inline_section())]).0);
            // The header need not come first.
            let mut behind = vec![0; 32];
            behind.extend(inline_section());
            check(elf(numbers, &[(".go.buildinfo", &behind)]).0);
        }
    }

    #[test]
    fn texts_behind_pointers_are_read() {
        for numbers in ALL {
            let modules = marked();
            let version = b"go1.23.4";
            // Where things begin is the same whatever they hold.
            let build = |texts: u64, strings: u64| {
                let pointer = numbers.pointer as u64;
                let mut section = MAGIC.to_vec();
                section.extend([numbers.pointer as u8, u8::from(numbers.big)]);
                for at in [strings, strings + 2 * pointer] {
                    section.extend(number(numbers, BASE + at, numbers.pointer));
                }
                section.resize(INLINE_AT, 0);
                let mut headers = Vec::new();
                for (at, length) in [(0, version.len()), (version.len(), modules.len())] {
                    let address = BASE + texts + at as u64;
                    headers.extend(number(numbers, address, numbers.pointer));
                    headers.extend(number(numbers, length as u64, numbers.pointer));
                }
                let all: Vec<u8> = version.iter().chain(&modules).copied().collect();
                elf(
                    numbers,
                    &[
                        (".rodata", &all),
                        (".data", &headers),
                        (".go.buildinfo", &section),
                    ],
                )
            };
            let (_, starts) = build(0, 0);
            check(build(starts[0], starts[1]).0);
        }
    }

    #[test]
    fn what_is_broken_is_told() {
        let whole = inline_section();
        let (file, _) = elf(ALL[0], &[]);
        let mut content = Cursor::new(file);
        let mut executable = Executable::open(&mut content).unwrap().unwrap();
        for end in 0..INLINE_AT + 1 {
            let told = read(&whole[..end], &mut executable);
            assert_eq!(told.notes.len(), 1, "{end}");
        }
        // Without modules, the toolchain is known all the same.
        let told = read(&whole[..INLINE_AT + 31], &mut executable);
        assert_eq!(told.packages.len(), 1);
    }
}
