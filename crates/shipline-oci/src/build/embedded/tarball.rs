//! The tar of a layer: GNU headers whose every byte follows from path, kind, mode and owner.

use super::tree::{Node, NodeKind};

/// The time of everything in a layer: 1980-01-01, the first that every archive format can say. A constant, so that a commit
/// which changes one file changes one layer.
pub(crate) const LAYER_TIME: u64 = 315_532_800;

const BLOCK: usize = 512;

/// The headers that announce an entry: long names come before the entry's own header.
pub(crate) fn headers(path: &[u8], node: &Node, size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK);
    let mut name = path.to_vec();
    let (kind, link) = match &node.kind {
        NodeKind::Directory => {
            name.push(b'/');
            (tar::EntryType::Directory, &[][..])
        }
        NodeKind::Symlink { target } => (tar::EntryType::Symlink, target.as_slice()),
        NodeKind::File { .. } | NodeKind::Other => (tar::EntryType::Regular, &[][..]),
    };
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(node.mode);
    header.set_uid(node.uid);
    header.set_gid(node.gid);
    header.set_mtime(LAYER_TIME);
    header.set_size(size);
    let limit = header.as_old().name.len();
    if name.len() > limit {
        long(&mut out, tar::EntryType::GNULongName, &name);
    }
    if link.len() > limit {
        long(&mut out, tar::EntryType::GNULongLink, link);
    }
    copy_into(&mut header.as_old_mut().name, &name);
    copy_into(&mut header.as_old_mut().linkname, link);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out
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
}
