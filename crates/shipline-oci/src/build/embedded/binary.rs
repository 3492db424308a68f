//! What a binary was made for (ELF, Mach-O, PE), held against the image's platform.

use shipline_model::config::Platform;

/// What a file's head says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// For people: "a Linux executable for arm64".
    pub(crate) description: String,
    /// Whether it is started, and not loaded by something else.
    pub(crate) executable: bool,
    /// ELF: `e_machine`, 64 bits, little endian, and whether Linux runs its kind.
    elf: Option<Elf>,
    /// The loader that it needs.
    pub(crate) interpreter: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Elf {
    machine: u16,
    wide: bool,
    little: bool,
    linux: bool,
}

/// Whether a binary runs on a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Yes, or nothing is known about the platform.
    Runs,
    /// On many machines of that platform, by an older mode of the processor.
    Perhaps,
    /// No.
    Foreign,
}

/// OCI architecture, `e_machine`, 64 bits, little endian.
const MACHINES: &[(&str, u16, bool, bool)] = &[
    ("amd64", 62, true, true),
    ("arm64", 183, true, true),
    ("386", 3, false, true),
    ("arm", 40, false, true),
    ("riscv64", 243, true, true),
    ("ppc64le", 21, true, true),
    ("ppc64", 21, true, false),
    ("s390x", 22, true, false),
    ("loong64", 258, true, true),
];

/// What the file is whose bytes `read` gives (offset, length; shorter at the end). `None` for everything but binaries.
pub(crate) fn inspect(read: &dyn Fn(u64, usize) -> Vec<u8>) -> Option<Binary> {
    let head = read(0, 64);
    match head.get(..4)? {
        b"\x7fELF" => elf(&head, read),
        [0xce | 0xcf, 0xfa, 0xed, 0xfe] => {
            Some(mach_o(u32_at(&head, 4, true)?, u32_at(&head, 12, true)?))
        }
        [0xfe, 0xed, 0xfa, 0xce | 0xcf] => {
            Some(mach_o(u32_at(&head, 4, false)?, u32_at(&head, 12, false)?))
        }
        // A Java class begins like a universal binary; its second number is a version from 45.
        [0xca, 0xfe, 0xba, 0xbe] if u32_at(&head, 4, false)? < 30 => Some(Binary {
            description: "a universal macOS binary".to_owned(),
            executable: true,
            elf: None,
            interpreter: None,
        }),
        [b'M', b'Z', ..] => {
            let at = u64::from(u32_at(&head, 0x3c, true)?);
            let header = read(at, 24);
            if header.get(..4)? != b"PE\0\0" {
                return None;
            }
            let library = u16_at(&header, 22, true)? & 0x2000 != 0;
            Some(Binary {
                description: format!("a Windows {}", kind(!library)),
                executable: !library,
                elf: None,
                interpreter: None,
            })
        }
        _ => None,
    }
}

impl Binary {
    /// Whether it runs on this platform.
    pub(crate) fn fits(&self, platform: &Platform) -> Fit {
        let Some(elf) = &self.elf else {
            return Fit::Foreign;
        };
        let Some(wanted) = MACHINES
            .iter()
            .find(|machine| machine.0 == platform.architecture)
        else {
            return Fit::Runs;
        };
        let same = (elf.machine, elf.wide, elf.little) == (wanted.1, wanted.2, wanted.3);
        let older = matches!(
            (platform.architecture.as_str(), elf.machine),
            ("amd64", 3) | ("arm64", 40)
        ) || (platform.architecture == "amd64" && elf.machine == 62);
        match (elf.linux, same, older) {
            (true, true, _) => Fit::Runs,
            (true, false, true) => Fit::Perhaps,
            _ => Fit::Foreign,
        }
    }
}

fn elf(head: &[u8], read: &dyn Fn(u64, usize) -> Vec<u8>) -> Option<Binary> {
    const INTERPRETER: u32 = 3;
    let wide = *head.get(4)? == 2;
    let little = *head.get(5)? == 1;
    let abi = *head.get(7)?;
    let form = u16_at(head, 16, little)?;
    let machine = u16_at(head, 18, little)?;
    let (entry, table, size_at) = if wide {
        (u64_at(head, 24, little)?, u64_at(head, 32, little)?, 54)
    } else {
        (
            u64::from(u32_at(head, 24, little)?),
            u64::from(u32_at(head, 28, little)?),
            42,
        )
    };
    let size = usize::from(u16_at(head, size_at, little)?);
    let count = usize::from(u16_at(head, size_at + 2, little)?);
    let headers = read(table, size.saturating_mul(count).min(64 * 1024));
    let mut interpreter = None;
    for header in headers.chunks_exact(size.max(32)) {
        if u32_at(header, 0, little) != Some(INTERPRETER) {
            continue;
        }
        let (offset, length) = if wide {
            (u64_at(header, 8, little)?, u64_at(header, 32, little)?)
        } else {
            (
                u64::from(u32_at(header, 4, little)?),
                u64::from(u32_at(header, 16, little)?),
            )
        };
        let text = read(offset, usize::try_from(length.min(4096)).ok()?);
        let text = text.split(|b| *b == 0).next().unwrap_or_default();
        interpreter = Some(String::from_utf8_lossy(text).into_owned());
    }
    // 2 is a program at a fixed place; 3 is a library, or a program that may lie anywhere.
    let executable = form == 2 || (form == 3 && (interpreter.is_some() || entry != 0));
    let architecture = MACHINES
        .iter()
        .find(|known| (known.1, known.2, known.3) == (machine, wide, little))
        .map_or_else(|| format!("machine {machine}"), |known| known.0.to_owned());
    let system = match abi {
        0 | 3 => "Linux",
        2 => "NetBSD",
        6 => "Solaris",
        9 => "FreeBSD",
        12 => "OpenBSD",
        _ => "unknown-system",
    };
    Some(Binary {
        description: format!("a {system} {} for {architecture}", kind(executable)),
        executable,
        elf: Some(Elf {
            machine,
            wide,
            little,
            linux: matches!(abi, 0 | 3),
        }),
        interpreter,
    })
}

fn mach_o(cpu: u32, form: u32) -> Binary {
    let architecture = match cpu {
        0x0100_0007 => "amd64",
        0x0100_000c => "arm64",
        7 => "386",
        _ => "an unknown processor",
    };
    Binary {
        description: format!("a macOS {} for {architecture}", kind(form == 2)),
        executable: form == 2,
        elf: None,
        interpreter: None,
    }
}

fn kind(executable: bool) -> &'static str {
    if executable { "executable" } else { "library" }
}

fn u16_at(bytes: &[u8], at: usize, little: bool) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(if little {
        u16::from_le_bytes(bytes)
    } else {
        u16::from_be_bytes(bytes)
    })
}

fn u32_at(bytes: &[u8], at: usize, little: bool) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if little {
        u32::from_le_bytes(bytes)
    } else {
        u32::from_be_bytes(bytes)
    })
}

fn u64_at(bytes: &[u8], at: usize, little: bool) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(if little {
        u64::from_le_bytes(bytes)
    } else {
        u64::from_be_bytes(bytes)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A 64-bit ELF head with an interpreter.
    pub(crate) fn elf_bytes(machine: u16, form: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
        bytes[16..18].copy_from_slice(&form.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[24] = u8::from(form == 2);
        bytes[32] = 64;
        bytes[54] = 56;
        if let Some(interpreter) = interpreter {
            bytes[56] = 1;
            let mut header = vec![0; 56];
            header[0] = 3;
            header[8] = 120;
            header[32] = u8::try_from(interpreter.len() + 1).unwrap();
            bytes.extend(header);
            bytes.extend(interpreter.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    fn look(bytes: &[u8]) -> Option<Binary> {
        inspect(&|offset, length| {
            let start = usize::try_from(offset).unwrap().min(bytes.len());
            bytes[start..(start.saturating_add(length)).min(bytes.len())].to_vec()
        })
    }

    fn platform(architecture: &str) -> Platform {
        Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: None,
        }
    }

    #[test]
    fn elf_by_machine() {
        let amd64 = look(&elf_bytes(62, 3, Some("/lib64/ld.so"))).unwrap();
        assert!(amd64.executable);
        assert_eq!(amd64.interpreter.as_deref(), Some("/lib64/ld.so"));
        assert_eq!(amd64.fits(&platform("amd64")), Fit::Runs);
        assert_eq!(amd64.fits(&platform("arm64")), Fit::Foreign);
        assert_eq!(amd64.fits(&platform("sparc")), Fit::Runs);
        let library = look(&elf_bytes(62, 3, None)).unwrap();
        assert!(!library.executable);
        let arm = look(&elf_bytes(183, 2, None)).unwrap();
        assert_eq!(arm.description, "a Linux executable for arm64");
        let mut bsd = elf_bytes(62, 2, None);
        bsd[7] = 9;
        assert_eq!(look(&bsd).unwrap().fits(&platform("amd64")), Fit::Foreign);
    }

    #[test]
    fn other_systems() {
        let mut mac = vec![
            0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0,
        ];
        mac.resize(64, 0);
        assert_eq!(
            look(&mac).unwrap().description,
            "a macOS executable for arm64"
        );
        let mut windows = vec![0; 128];
        windows[..2].copy_from_slice(b"MZ");
        windows[0x3c] = 64;
        windows[64..68].copy_from_slice(b"PE\0\0");
        assert_eq!(look(&windows).unwrap().description, "a Windows executable");
        let class = [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52, 0, 0];
        assert_eq!(look(&class), None);
        for other in [&b"#!/bin/sh"[..], b"", b"\x7fEL", b"MZ", b"\x7fELF\x02\x01"] {
            assert_eq!(look(other), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_head_panics(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200), which in 0..4_usize) {
            let mut bytes = [&b"\x7fELF"[..], b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"][which].to_vec();
            bytes.extend(tail);
            look(&bytes);
        }
    }
}
