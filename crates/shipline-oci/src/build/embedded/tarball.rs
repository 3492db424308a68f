//! The tar of a layer: GNU headers whose every byte follows from path, kind, mode and owner.

use shipline_engine::archive::Xattrs;

use super::tree::{Node, NodeKind, Special};

/// The time of everything in a layer: 1980-01-01, the first that every archive format can say. A constant, so that a commit
/// which changes one file changes one layer.
pub(crate) const LAYER_TIME: u64 = 315_532_800;

const BLOCK: usize = 512;

/// The headers that announce an entry: long names come before the entry's own header. An entry with extended attributes is
/// announced as PAX has it, the only way to say them; others as GNU has it, which needs fewer bytes.
pub(crate) fn headers(path: &[u8], node: &Node, size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK);
    let mut name = path.to_vec();
    let (kind, link) = match &node.kind {
        NodeKind::Directory => {
            name.push(b'/');
            (tar::EntryType::Directory, &[][..])
        }
        NodeKind::Symlink { target } => (tar::EntryType::Symlink, target.as_slice()),
        NodeKind::File { .. } => (tar::EntryType::Regular, &[][..]),
        NodeKind::Special(Special::CharDevice(..)) => (tar::EntryType::Char, &[][..]),
        NodeKind::Special(Special::BlockDevice(..)) => (tar::EntryType::Block, &[][..]),
        NodeKind::Special(Special::Fifo) => (tar::EntryType::Fifo, &[][..]),
    };
    let mut header = match &node.xattrs {
        None => tar::Header::new_gnu(),
        Some(xattrs) => {
            records(&mut out, &name, link, node, size, xattrs);
            tar::Header::new_ustar()
        }
    };
    header.set_entry_type(kind);
    header.set_mode(node.mode);
    header.set_uid(node.uid);
    header.set_gid(node.gid);
    header.set_mtime(LAYER_TIME);
    header.set_size(size);
    if let NodeKind::Special(
        Special::CharDevice(major, minor) | Special::BlockDevice(major, minor),
    ) = node.kind
    {
        set_octal(&mut header, DEVICE_MAJOR, major);
        set_octal(&mut header, DEVICE_MINOR, minor);
    }
    let limit = header.as_old().name.len();
    if node.xattrs.is_none() {
        if name.len() > limit {
            long(&mut out, tar::EntryType::GNULongName, &name);
        }
        if link.len() > limit {
            long(&mut out, tar::EntryType::GNULongLink, link);
        }
    }
    copy_into(&mut header.as_old_mut().name, &name);
    copy_into(&mut header.as_old_mut().linkname, link);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out
}

/// Where a device's numbers stand in a header, in every format that knows devices.
const DEVICE_MAJOR: std::ops::Range<usize> = 329..337;
const DEVICE_MINOR: std::ops::Range<usize> = 337..345;

fn set_octal(header: &mut tar::Header, field: std::ops::Range<usize>, number: u32) {
    let text = format!("{number:07o}\0");
    copy_into(&mut header.as_mut_bytes()[field], text.as_bytes());
}

/// The PAX header before an entry: its attributes, and what does not fit into the header's own fields.
fn records(out: &mut Vec<u8>, name: &[u8], link: &[u8], node: &Node, size: u64, xattrs: &Xattrs) {
    /// The largest numbers that 7 and 11 octal digits say.
    const OWNER: u64 = 0o777_7777;
    const SIZE: u64 = 0o777_7777_7777;
    let field = tar::Header::new_ustar().as_old().name.len();
    let mut text = Vec::new();
    let mut record = |key: &[u8], value: &[u8]| {
        // The length counts itself.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        text.extend_from_slice(format!("{length} ").as_bytes());
        text.extend_from_slice(key);
        text.push(b'=');
        text.extend_from_slice(value);
        text.push(b'\n');
    };
    for (key, number, limit) in [
        ("gid", node.gid, OWNER),
        ("uid", node.uid, OWNER),
        ("size", size, SIZE),
    ] {
        if number > limit {
            record(key.as_bytes(), number.to_string().as_bytes());
        }
    }
    if link.len() > field {
        record(b"linkpath", link);
    }
    if name.len() > field {
        record(b"path", name);
    }
    for (name, value) in xattrs {
        record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    let mut header = tar::Header::new_ustar();
    copy_into(&mut header.as_old_mut().name, b"././@PaxHeader");
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let size = text.len() as u64;
    header.set_size(size);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&text);
    out.resize(out.len() + padding(size), 0);
}

/// How many zeros follow a file of this size.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// What ends a tar.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

fn long(out: &mut Vec<u8>, kind: tar::EntryType, text: &[u8]) {
    let mut header = tar::Header::new_gnu();
    copy_into(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let size = text.len() as u64 + 1;
    header.set_size(size);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(text);
    out.push(0);
    out.resize(out.len() + padding(size), 0);
}

fn copy_into(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use shipline_engine::archive::{EntryKind, TarReader};

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let long = format!("a/{}/b", "x".repeat(300));
        let mut bytes = Vec::new();
        let node = |kind, mode| Node {
            kind,
            mode,
            uid: 4_000_000,
            gid: 7,
            xattrs: None,
        };
        let target = "y".repeat(200).into_bytes();
        for (path, kind) in [
            ("d", NodeKind::Directory),
            (
                long.as_str(),
                NodeKind::Symlink {
                    target: target.clone(),
                },
            ),
            ("ä".repeat(50).as_str(), NodeKind::Directory),
        ] {
            bytes.extend(headers(path.as_bytes(), &node(kind, 0o1755), 0));
        }
        bytes.extend(END);
        let mut tar = tar::Archive::new(bytes.as_slice());
        let mut seen = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut rest = Vec::new();
            entry.read_to_end(&mut rest).unwrap();
            assert_eq!(entry.header().uid().unwrap(), 4_000_000);
            assert_eq!(entry.header().mode().unwrap(), 0o1755);
            assert_eq!(entry.header().mtime().unwrap(), LAYER_TIME);
            seen.push((
                String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
                entry.link_name_bytes().map(std::borrow::Cow::into_owned),
            ));
        }
        assert_eq!(seen[0].0, "d/");
        assert_eq!(seen[1], (long, Some(target)));
        assert_eq!(seen[2].0, format!("{}/", "ä".repeat(50)));
    }

    #[test]
    fn attributes_and_devices_are_read_again() {
        let long = format!("{}/f", "x".repeat(200));
        let xattrs = Xattrs::from([
            (b"security.capability".to_vec(), b"\x01\0\0\x02=\n".to_vec()),
            (b"user.a".to_vec(), b"b".repeat(95)),
        ]);
        let node = |kind, xattrs: Option<&Xattrs>| Node {
            kind,
            mode: 0o4755,
            uid: 3_000_000,
            gid: 8,
            xattrs: xattrs.cloned().map(Arc::new),
        };
        let char = NodeKind::Special(Special::CharDevice(1, 1_000_000));
        let block = NodeKind::Special(Special::BlockDevice(4095, 0));
        let link = NodeKind::Symlink {
            target: b"y".repeat(150),
        };
        let mut bytes = headers(long.as_bytes(), &node(char, Some(&xattrs)), 0);
        bytes.extend(headers(b"b", &node(block, None), 0));
        bytes.extend(headers(
            b"p",
            &node(NodeKind::Special(Special::Fifo), None),
            0,
        ));
        bytes.extend(headers(b"l", &node(link, Some(&xattrs)), 0));
        bytes.extend(headers(b"d", &node(NodeKind::Directory, Some(&xattrs)), 0));
        bytes.extend(END);
        let mut tar = TarReader::new(bytes.as_slice());
        let mut read = Vec::new();
        while let Some(entry) = tar.next_entry().unwrap() {
            assert_eq!((entry.mode, entry.uid, entry.gid), (0o4755, 3_000_000, 8));
            read.push((entry.path, entry.kind, entry.xattrs));
        }
        let none = Xattrs::new();
        assert_eq!(
            read,
            [
                (
                    long.into_bytes(),
                    EntryKind::CharDevice(1, 1_000_000),
                    xattrs.clone()
                ),
                (b"b".to_vec(), EntryKind::BlockDevice(4095, 0), none.clone()),
                (b"p".to_vec(), EntryKind::Fifo, none),
                (
                    b"l".to_vec(),
                    EntryKind::Symlink {
                        target: b"y".repeat(150)
                    },
                    xattrs.clone()
                ),
                (b"d/".to_vec(), EntryKind::Directory, xattrs),
            ]
        );
    }
}
