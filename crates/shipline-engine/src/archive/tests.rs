//! Archives as others write them, and archives that nobody honest writes.

use std::io::{self, Cursor, Read, Write};

use super::*;

/// A header with the right checksum.
fn header(path: &str, flag: u8, size: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..path.len()].copy_from_slice(path.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000001");
    block[116..123].copy_from_slice(b"0000002");
    if size < 1 << 33 {
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar  \0");
    sealed(block)
}

fn sealed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn changed(path: &str, flag: u8, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut block = header(path, flag, 0);
    change(&mut block);
    sealed(block)
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().div_ceil(BLOCK) * BLOCK, 0);
    bytes
}

fn entry(path: &str, flag: u8, bytes: &[u8]) -> Vec<u8> {
    [header(path, flag, bytes.len() as u64), padded(bytes)].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        all.extend(format!("{length} {key}=").as_bytes());
        all.extend(*value);
        all.push(b'\n');
    }
    entry("PaxHeaders/x", b'x', &all)
}

type Found = (Entry, Vec<u8>);

fn all(bytes: &[u8]) -> io::Result<Vec<Found>> {
    let mut tar = TarReader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = tar.next_entry()? {
        let mut content = Vec::new();
        tar.read_to_end(&mut content)?;
        assert_eq!(content.len() as u64, entry.size);
        found.push((entry, content));
    }
    assert!(tar.next_entry()?.is_none());
    Ok(found)
}

fn refusal(bytes: &[u8]) -> String {
    all(bytes).unwrap_err().to_string()
}

fn paths(bytes: &[u8]) -> Vec<String> {
    let path = |(entry, _): Found| String::from_utf8(entry.path).unwrap();
    all(bytes).unwrap().into_iter().map(path).collect()
}

const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

#[test]
fn every_kind_of_entry_is_told() {
    let link = |path, flag| {
        changed(path, flag, |block| {
            block[157..160].copy_from_slice(b"a/b");
        })
    };
    let device = |path, flag| {
        changed(path, flag, |block| {
            block[329..336].copy_from_slice(b"0000001");
            block[337..344].copy_from_slice(b"0000003");
        })
    };
    let tar = [
        entry("f", b'0', b"abc"),
        entry("old", 0, b"abcd"),
        entry("old-d/", 0, b""),
        entry("d/", b'5', b""),
        link("h", b'1'),
        link("s", b'2'),
        device("c", b'3'),
        device("b", b'4'),
        header("p", b'6', 0),
        entry("v", b'V', b"volume"),
        END.to_vec(),
    ]
    .concat();
    let found = all(&tar).unwrap();
    let kinds: Vec<EntryKind> = found.iter().map(|(entry, _)| entry.kind.clone()).collect();
    let target = b"a/b".to_vec();
    assert_eq!(
        kinds,
        [
            EntryKind::File { sparse: false },
            EntryKind::File { sparse: false },
            EntryKind::Directory,
            EntryKind::Directory,
            EntryKind::HardLink {
                target: target.clone()
            },
            EntryKind::Symlink { target },
            EntryKind::CharDevice(1, 3),
            EntryKind::BlockDevice(1, 3),
            EntryKind::Fifo,
            EntryKind::Unknown(b'V'),
        ]
    );
    let (first, content) = &found[0];
    assert_eq!(
        (first.mode, first.uid, first.gid, content.as_slice()),
        (0o644, 1, 2, &b"abc"[..])
    );
    assert_eq!(found[1].0.index, 1);
}

#[test]
fn what_has_no_content_has_none_whatever_size_it_names() {
    // A reader that skipped the directory's "content" would miss the file, which every engine unpacks.
    let tar = [
        header("d/", b'5', 1024),
        entry("f", b'0', b"abc"),
        END.to_vec(),
    ]
    .concat();
    assert_eq!(paths(&tar), ["d/", "f"]);
}

#[test]
fn long_names_come_from_gnu_from_pax_and_from_a_prefix() {
    let long = "n".repeat(300);
    let ustar = changed("name", b'0', |block| {
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[345..351].copy_from_slice(b"folder");
    });
    let tar = [
        entry("././@LongLink", b'L', format!("{long}\0").as_bytes()),
        entry("././@LongLink", b'K', format!("{long}\0").as_bytes()),
        header("cut", b'2', 0),
        pax(&[("path", b"pax/name"), ("linkpath", b"pax/link")]),
        header("cut", b'1', 0),
        ustar,
        END.to_vec(),
    ]
    .concat();
    assert_eq!(
        paths(&tar),
        [long.as_str(), "pax/name", "folder/name"].map(str::to_owned)
    );
    let found = all(&tar).unwrap();
    assert!(matches!(&found[0].0.kind, EntryKind::Symlink { target } if target.len() == 300));
    assert!(matches!(&found[1].0.kind, EntryKind::HardLink { target } if target == b"pax/link"));
}

#[test]
fn pax_records_hold_for_one_entry_and_global_ones_for_none() {
    let tar = [
        entry("g", b'g', b"19 path=everywhere\n"),
        pax(&[
            ("size", b"5"),
            ("uid", b"4000000"),
            ("SCHILY.xattr.security.capability", b"\x01\0\n="),
        ]),
        header("a", b'0', 0),
        padded(b"12345"),
        header("b", b'0', 0),
        END.to_vec(),
    ]
    .concat();
    let found = all(&tar).unwrap();
    let (a, content) = &found[0];
    assert_eq!(
        (a.uid, a.gid, content.as_slice()),
        (4_000_000, 2, &b"12345"[..])
    );
    assert_eq!(a.xattrs[&b"security.capability"[..]], b"\x01\0\n=");
    assert_eq!((found[1].0.path.as_slice(), found[1].0.uid), (&b"b"[..], 1));
    assert!(found[1].0.xattrs.is_empty());
}

/// Of 3,000 bytes, four stand in the archive: two at 10, two at 2,000.
fn sparse_content() -> Vec<u8> {
    let mut content = vec![0; 3000];
    content[10..12].copy_from_slice(b"ab");
    content[2000..2002].copy_from_slice(b"cd");
    content
}

fn old_sparse(fragments: usize, extended: &[u8]) -> Vec<u8> {
    let mut block = header("s", b'S', 4);
    let pairs = [(10, 2), (2000, 2)];
    for (at, (offset, length)) in pairs.iter().take(fragments).enumerate() {
        let at = 386 + 24 * at;
        block[at..at + 11].copy_from_slice(format!("{offset:011o}").as_bytes());
        block[at + 12..at + 23].copy_from_slice(format!("{length:011o}").as_bytes());
    }
    block[482] = u8::from(!extended.is_empty());
    block[483..494].copy_from_slice(format!("{:011o}", 3000).as_bytes());
    [sealed(block), extended.to_vec(), padded(b"abcd")].concat()
}

#[test]
fn sparse_files_of_every_format_come_out_whole() {
    let mut extended = vec![0; BLOCK];
    extended[..11].copy_from_slice(format!("{:011o}", 2000).as_bytes());
    extended[12..23].copy_from_slice(format!("{:011o}", 2).as_bytes());
    let in_records = |records: &[(&str, &[u8])]| {
        [pax(records), entry("GNUSparseFile.0/s", b'0', b"abcd")].concat()
    };
    let version_1 = [
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", b"3000"),
        ]),
        header("GNUSparseFile.0/s", b'0', 516),
        padded(b"2\n10\n2\n2000\n2\n"),
        padded(b"abcd"),
    ]
    .concat();
    for (format, sparse) in [
        ("old", old_sparse(2, &[])),
        ("old, with a second block", old_sparse(1, &extended)),
        (
            "0.0",
            in_records(&[
                ("GNU.sparse.size", b"3000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"10"),
                ("GNU.sparse.numbytes", b"2"),
                ("GNU.sparse.offset", b"2000"),
                ("GNU.sparse.numbytes", b"2"),
                ("path", b"s"),
            ]),
        ),
        (
            "0.1",
            in_records(&[
                ("GNU.sparse.name", b"s"),
                ("GNU.sparse.size", b"3000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.map", b"10,2,2000,2"),
            ]),
        ),
        ("1.0", version_1),
    ] {
        let tar = [sparse, entry("next", b'0', b"x"), END.to_vec()].concat();
        let found = all(&tar).unwrap();
        let (entry, content) = &found[0];
        assert_eq!(entry.path, b"s", "{format}");
        assert_eq!(entry.kind, EntryKind::File { sparse: true }, "{format}");
        assert!(*content == sparse_content(), "{format}");
        assert_eq!(found[1].0.path, b"next", "{format}");
        // Who does not read it comes to the next entry all the same.
        let mut skipping = TarReader::new(&tar[..]);
        assert_eq!(skipping.next_entry().unwrap().unwrap().path, b"s");
        assert_eq!(skipping.next_entry().unwrap().unwrap().path, b"next");
    }
}

#[test]
fn sparse_files_that_lie_are_refused() {
    let sparse = |map: &[u8], size: &[u8]| {
        [
            pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)]),
            entry("s", b'0', b"abcd"),
            END.to_vec(),
        ]
        .concat()
    };
    for (map, size) in [
        (&b"0,2,1,2"[..], &b"10"[..]),
        (b"8,4", b"10"),
        (b"4,2,0,2", b"10"),
        (b"0,3", b"10"),
        (b"0,5", b"10"),
        (b"9223372036854775807,4", b"10"),
    ] {
        assert!(refusal(&sparse(map, size)).contains("sparse"), "{map:?}");
    }
    // A hole of eight exabytes is no file.
    let bomb = refusal(&sparse(b"0,4", b"9223372036854775807"));
    assert!(bomb.contains("400 times"), "{bomb}");
    let endless = [
        pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")]),
        entry("s", b'0', &vec![b'1'; 2000]),
    ]
    .concat();
    assert!(refusal(&endless).contains("malformed"));
    let many = [
        pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")]),
        entry("s", b'0', &padded(b"9999999999\n")),
    ]
    .concat();
    assert!(refusal(&many).contains("fragments"));
    let short = [
        pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")]),
        entry("s", b'0', b"2\n0\n"),
        END.to_vec(),
    ]
    .concat();
    assert!(refusal(&short).contains("does not end"));
}

/// A stream that repeats a piece without end.
struct Endless(Vec<u8>, usize);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = &self.0[self.1..];
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        self.1 = (self.1 + count) % self.0.len();
        Ok(count)
    }
}

fn endless(start: Vec<u8>, repeated: Vec<u8>) -> io::Error {
    let mut tar = TarReader::new(Cursor::new(start).chain(Endless(repeated, 0)));
    tar.most = 10_000;
    loop {
        match tar.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it has no end"),
            Err(error) => return error,
        }
    }
}

#[test]
fn headers_without_end_take_no_memory() {
    for flag in [b'L', b'K', b'x'] {
        let error = endless(header("././@LongLink", flag, 600 << 20), vec![b'a'; BLOCK]);
        assert!(error.to_string().contains("header is too large"), "{error}");
        let error = endless(Vec::new(), entry("n", flag, b"10 path=p\n"));
        assert!(error.to_string().contains("headers"), "{error}");
    }
    let error = endless(Vec::new(), header("g", b'g', 0));
    assert!(error.to_string().contains("entries"), "{error}");
    let error = endless(Vec::new(), header("empty", b'0', 0));
    assert!(error.to_string().contains("entries"), "{error}");
    // A map in GNU's old format that always says that more follows.
    let mut more = vec![0; BLOCK];
    more[504] = 1;
    let mut first = header("s", b'S', 0);
    first[482] = 1;
    let error = endless(sealed(first), more);
    assert!(error.to_string().contains("does not end"), "{error}");
}

#[test]
fn what_cannot_be_is_refused() {
    let long = "p".repeat(LONGEST_PATH + 1);
    let field = |at: usize, bytes: &'static [u8], flag| {
        changed("x", flag, move |block| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        })
    };
    for (tar, why) in [
        (entry("n", b'L', long.as_bytes()), "path has"),
        (entry("n", b'K', long.as_bytes()), "path has"),
        (pax(&[("path", long.as_bytes())]), "path has"),
        (
            field(
                124,
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                b'0',
            ),
            "size is negative",
        ),
        (
            field(
                124,
                b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                b'0',
            ),
            "size is too large",
        ),
        (field(124, b"12x", b'0'), "octal"),
        (field(108, b"\x80\0\0\x01\0\0\0\0", b'0'), "no user"),
        (field(329, b"7777777\0", b'3'), "device"),
        (vec![b'x'; BLOCK], "checksum"),
        (
            [vec![0; BLOCK], header("x", b'0', 0)].concat(),
            "empty block",
        ),
    ] {
        let tar = [tar, header("x", b'0', 0), END.to_vec()].concat();
        let said = refusal(&tar);
        assert!(said.contains(why), "{said}: {why}");
    }
}

#[test]
fn an_archive_that_was_cut_off_is_told_from_one_without_an_end_mark() {
    let tar = [
        entry("a", b'0', &[b'a'; 700]),
        pax(&[("path", b"b")]),
        header("b", b'0', 0),
    ]
    .concat();
    // Without the two empty blocks, and without the padding of the last file.
    assert_eq!(paths(&tar), ["a", "b"]);
    assert_eq!(paths(&entry("a", b'0', b"abc")[..BLOCK + 3]), ["a"]);
    for length in 1..tar.len() {
        // Between two entries it may end; the first file's padding may lack.
        if (BLOCK + 700..=3 * BLOCK).contains(&length) {
            continue;
        }
        assert!(all(&tar[..length]).is_err(), "{length}");
        let mut seeking = TarReader::seeking(Cursor::new(&tar[..length])).unwrap();
        let error = loop {
            match seeking.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{length}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
    }
    // A size that lies about what follows.
    assert!(all(&[header("a", b'0', 1 << 62), vec![0; 5000]].concat()).is_err());
}

#[test]
fn what_stands_behind_the_end_is_not_there() {
    let tar = [entry("a", b'0', b"a"), END.to_vec(), entry("b", b'0', b"b")].concat();
    assert_eq!(paths(&tar), ["a"]);
    assert_eq!(paths(&END), [""; 0]);
    assert_eq!(paths(b""), [""; 0]);
}

#[test]
fn what_nobody_reads_is_not_read() {
    let tar = [
        entry("a", b'0', &vec![b'a'; 300_000]),
        entry("b", b'0', b"b"),
        END.to_vec(),
    ]
    .concat();
    let mut reader = TarReader::seeking(Cursor::new(&tar)).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"a");
    let mut start = [0; 10];
    reader.read_exact(&mut start).unwrap();
    assert_eq!(start, [b'a'; 10]);
    let b = reader.next_entry().unwrap().unwrap();
    assert_eq!(b.path, b"b");
    let at = usize::try_from(b.position).unwrap();
    assert_eq!(&tar[at..=at], b"b");
    assert!(reader.next_entry().unwrap().is_none());
}

#[test]
fn a_layer_is_what_it_was_said_to_be() {
    let tar = [
        entry("a", b'0', b"abc"),
        END.to_vec(),
        b"behind the end".to_vec(),
    ]
    .concat();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&tar).unwrap();
    let blob = encoder.finish().unwrap();
    let digest = |bytes: &[u8]| {
        use sha2::{Digest as _, Sha256};
        let text = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
        shipline_model::name::Digest::new(text).unwrap()
    };
    let size = blob.len() as u64;
    let check = |blob_digest, size, diff_id: &[u8]| {
        let expected = Expected {
            blob: Some((digest(blob_digest), size)),
            diff_id: Some(digest(diff_id)),
        };
        let mut reader = TarReader::new(LayerReader::new(&blob[..], expected).unwrap());
        assert_eq!(reader.next_entry().unwrap().unwrap().path, b"a");
        reader
            .into_inner()
            .finish()
            .map_err(|error| error.to_string())
    };
    assert_eq!(check(&blob, size, &tar), Ok(()));
    for (result, why) in [
        (check(&tar, size, &tar), "its blob has the digest"),
        (check(&blob, size + 1, &tar), "its blob has"),
        (check(&blob, size, &blob), "its content has the digest"),
    ] {
        let said = result.unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    let unchecked = LayerReader::new(&blob[..], Expected::default()).unwrap();
    assert_eq!(unchecked.compression(), Compression::Gzip);
    assert!(unchecked.finish().is_ok());
}
